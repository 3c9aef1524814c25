// The official Node client, unmodified, against `sluice up` with the real model. As in openai_python_test.py, what is
// asserted is the shape of answers and what the API guarantees.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import OpenAI from 'openai';
import { startPlatform, until } from './platform.mjs';

const hello = [{ role: 'user', content: 'Say hello.' }];
const weather = {
  type: 'function',
  function: {
    name: 'get_weather',
    description: 'The weather of a city',
    parameters: {
      type: 'object',
      properties: { city: { type: 'string', maxLength: 20 } },
      required: ['city'],
      additionalProperties: false,
    },
  },
};

let platform;
let client;

before(async () => {
  platform = await startPlatform();
  client = new OpenAI({ baseURL: `${platform.url}/v1`, apiKey: 'none', maxRetries: 0, timeout: 60_000 });
  await until(async () => (await client.models.list()).data.length === 2, 'both models are listed');
});

after(() => platform?.stop());

const chat = (more) => client.chat.completions.create({ model: platform.model, messages: hello, max_tokens: 12, ...more });

async function running() {
  const { pools } = await (await fetch(`${platform.url}/debug/endpoints`)).json();
  return pools.flatMap((p) => p.endpoints).reduce((n, e) => n + e.running + e.waiting, 0);
}

test('models are listed', async () => {
  const ids = (await client.models.list()).data.map((m) => m.id).sort();
  assert.deepEqual(ids, [platform.model, platform.narrow].sort());
});

test('a stream says what the plain answer says', async () => {
  const plain = await chat({ temperature: 0 });
  assert.equal(plain.choices[0].message.role, 'assistant');
  assert.ok(plain.usage.completion_tokens > 0);
  let text = '';
  let usage;
  for await (const piece of await chat({ temperature: 0, stream: true, stream_options: { include_usage: true } })) {
    text += piece.choices[0]?.delta.content ?? '';
    usage = piece.usage ?? usage;
  }
  assert.equal(text, plain.choices[0].message.content);
  assert.equal(usage.completion_tokens, plain.usage.completion_tokens);
});

test('a demanded tool is called, plain and streamed', async () => {
  const request = { tools: [weather], tool_choice: 'required', parallel_tool_calls: false, max_tokens: 100,
    temperature: 0, messages: [{ role: 'user', content: 'What is the weather in Paris?' }] };
  const [choice] = (await chat(request)).choices;
  assert.equal(choice.finish_reason, 'tool_calls');
  const [call] = choice.message.tool_calls;
  assert.equal(call.function.name, 'get_weather');
  assert.deepEqual(Object.keys(JSON.parse(call.function.arguments)), ['city']);

  let name = '';
  let args = '';
  for await (const piece of await chat({ ...request, stream: true })) {
    for (const delta of piece.choices[0]?.delta.tool_calls ?? []) {
      name += delta.function?.name ?? '';
      args += delta.function?.arguments ?? '';
    }
  }
  assert.equal(name, 'get_weather');
  assert.deepEqual(Object.keys(JSON.parse(args)), ['city']);
});

test('a JSON schema is kept', async () => {
  const schema = { type: 'object', additionalProperties: false, required: ['name', 'age'],
    properties: { name: { type: 'string', maxLength: 12 }, age: { type: 'integer' } } };
  const answer = await chat({ max_tokens: 100, temperature: 0,
    response_format: { type: 'json_schema', json_schema: { name: 'person', strict: true, schema } } });
  const value = JSON.parse(answer.choices[0].message.content);
  assert.deepEqual(Object.keys(value).sort(), ['age', 'name']);
  assert.ok(Number.isInteger(value.age) && value.name.length <= 12);
});

test('log-probabilities come with their alternatives', async () => {
  const answer = await chat({ logprobs: true, top_logprobs: 2, temperature: 0 });
  for (const token of answer.choices[0].logprobs.content) {
    assert.equal(token.top_logprobs.length, 2);
    assert.ok(token.logprob <= 0);
  }
});

test('embeddings', async () => {
  // The client asks for base64 and decodes it.
  const { data } = await client.embeddings.create({ model: platform.model, input: ['a boat', 'a boat'] });
  const [a, b] = data.map((e) => e.embedding);
  const dot = (x, y) => x.reduce((sum, v, i) => sum + v * y[i], 0);
  assert.ok(a.length > 100);
  assert.ok(Math.abs(dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b)) - 1) < 1e-3);
});

test('an aborted stream frees its worker', async () => {
  const stream = await chat({ stream: true, max_tokens: 4000, ignore_eos: true });
  for await (const _ of stream) {
    await until(async () => (await running()) === 1, 'the request is running');
    break; // the client aborts the request
  }
  await until(async () => (await running()) === 0, 'the worker has dropped the request');
});

test('mistakes are typed errors', async () => {
  await assert.rejects(chat({ model: 'gpt-none' }), (e) => e instanceof OpenAI.NotFoundError && /gpt-none/.test(e.message));
  await assert.rejects(chat({ temperature: 'hot' }), (e) => e instanceof OpenAI.BadRequestError && e.code === 400);
  const long = client.completions.create({ model: platform.model, prompt: new Array(9000).fill(100) });
  await assert.rejects(long, (e) => e instanceof OpenAI.BadRequestError && /8192/.test(e.message));
});

test('a full queue is a rate limit error', async () => {
  const body = { model: platform.narrow, prompt: 'Once', max_tokens: 900, ignore_eos: true, stream: true };
  const leave = new AbortController();
  const first = await client.completions.create(body, { signal: leave.signal });
  const second = client.completions.create(body, { signal: leave.signal });
  await until(async () => (await running()) === 2, 'one runs and one waits');
  await assert.rejects(client.completions.create(body), (e) => e instanceof OpenAI.RateLimitError && e.status === 429);
  first.controller.abort();
  (await second).controller.abort();
  await until(async () => (await running()) === 0, 'both are dropped');
});
