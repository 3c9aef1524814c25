// Starts `sluice up` on free ports for a test file, and stops it. SLUICE_BUILD names the build, as the test runner says.
import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const run = promisify(execFile);
const root = fileURLToPath(new URL('../../../', import.meta.url));
const build = process.env.SLUICE_BUILD ?? path.join(root, 'build', 'release');
const program = process.env.SLUICE_BIN ?? path.join(build, 'bin', 'sluice');

// A manifest whose only worker computes one request and lets one wait, so that its queue can be filled.
const narrow = `
---
apiVersion: serving.kserve.io/v1alpha2
kind: LLMInferenceService
metadata: {name: narrow}
spec:
  model: {uri: "file://SmolLM2-135M-Instruct.Q4_1.gguf", name: narrow}
  replicas: 1
  template:
    containers:
    - name: main
      args: ["--max-model-len=1024", "--max-num-seqs=1", "--max-waiting-requests=1"]
`;

export async function startPlatform() {
  const folder = await mkdtemp(path.join(os.tmpdir(), 'sluice-node-'));
  const environment = { ...process.env, SLUICE_STATE_DIR: folder };
  const sluice = async (args, input) => {
    const started = run(program, args, { env: environment, cwd: root, timeout: 120_000 });
    started.child.stdin.end(input ?? '');
    return (await started).stdout;
  };
  const stop = async () => {
    await sluice(['down']);
    await rm(folder, { recursive: true });
  };
  const manifest = (await sluice(['up', '--print-manifest'])) + narrow;
  try {
    await sluice(['up', '--detach', '--port', '0', '-f', '-'], manifest);
    const state = JSON.parse(await sluice(['get', '-o', 'json']));
    return { url: state.url, model: state.services.find((s) => s.name !== 'narrow').model, narrow: 'narrow', stop };
  } catch (error) {
    await stop().catch(() => rm(folder, { recursive: true }));
    throw error;
  }
}

// The first true answer of `condition`; fails with `what` when there is none in time.
export async function until(condition, what, seconds = 20) {
  for (const last = Date.now() + seconds * 1000; Date.now() < last; ) {
    const answer = await condition();
    if (answer) return answer;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new Error(`not within ${seconds} s: ${what}`);
}
