// HTTP/2 clients that ask without a pause, on Node's own client: `kept` connections with `streams` requests at once on
// each, a new connection when the server says it takes no more (GOAWAY), and `fresh` ones with a connection a request.
// A request is sent again only when nothing of it had left: Node may hear GOAWAY between its call and its sending. One the
// server had got and refuses is a failure. One line a request on stdout: {"ok", "connection", "error"}. Ends when stdin does.
// Usage: node http2_load.mjs URL KEPT STREAMS FRESH MAX_TOKENS [CA_FILE]
import fs from 'node:fs';
import http2 from 'node:http2';
import process from 'node:process';

const [url, kept, streams, fresh, maxTokens, caFile] = process.argv.slice(2);
const tls = caFile ? { ca: fs.readFileSync(caFile) } : {};
const AnyStream = 2 ** 31 - 1;  // of a GOAWAY that only says that no more should come
let stopped = false;
let connections = 0;
process.stdin.on('end', () => { stopped = true; });
process.stdin.resume();

function connect() {
  const session = http2.connect(url, tls);
  session.number = ++connections;
  session.on('error', () => {});  // each of its streams hears of it too
  session.on('goaway', (code, last) => { session.lastTaken = last; });
  return session;
}

// Whether a session takes one more request.
const open = (session) => session !== undefined && !session.closed && !session.destroyed;

// One request and its whole answer; undefined when it never left.
function ask(session, number) {
  const stream = number % 2 === 0;
  const body = JSON.stringify({
    model: 'echo', prompt: `${number} to be or not to be that is the question`, stream, max_tokens: Number(maxTokens),
  });
  return new Promise((resolve) => {
    const outcome = { ok: false, connection: session.number, error: '' };
    const request = session.request({ ':method': 'POST', ':path': '/v1/completions', 'content-type': 'application/json' });
    let status = 0;
    let text = '';
    request.setEncoding('utf8');
    request.on('response', (headers) => { status = headers[':status']; });
    request.on('data', (piece) => { text += piece; });
    request.on('error', (error) => { outcome.error = `${error.code}: ${error.message}`; });
    request.on('close', () => {
      if (request.rstCode === http2.constants.NGHTTP2_REFUSED_STREAM && session.lastTaken === AnyStream) {
        resolve(undefined);
        return;
      }
      const whole = stream ? text.trimEnd().endsWith('data: [DONE]') : text.endsWith('}');
      outcome.ok = status === 200 && whole && !text.includes('"error"') && outcome.error === '';
      if (!outcome.ok && outcome.error === '') outcome.error = `status ${status}, ${text.length} bytes: ${text.slice(-200)}`;
      resolve(outcome);
    });
    request.end(body);
  });
}

function say(outcome) {
  if (outcome === undefined) return;
  process.stdout.write(`${JSON.stringify(outcome)}\n`);
}

async function keep() {
  let session;
  let number = 0;
  const asking = async () => {
    while (!stopped) {
      if (!open(session)) session = connect();
      say(await ask(session, number++));
    }
  };
  await Promise.all(Array.from({ length: Number(streams) }, asking));
  if (session) session.close();
}

async function renew() {
  for (let number = 0; !stopped; ++number) {
    const session = connect();
    say(await ask(session, number));
    session.close();
  }
}

await Promise.all([...Array.from({ length: Number(kept) }, keep), ...Array.from({ length: Number(fresh) }, renew)]);
