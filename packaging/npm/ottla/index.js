'use strict';
// A broker for tests: starts in milliseconds, on a free port, and leaves nothing behind.
const { spawn } = require('node:child_process');
const { once } = require('node:events');

/** The path of the broker's program: `OTTLA_BIN`, or that of the package for this platform. */
function binary() {
  if (process.env.OTTLA_BIN) return process.env.OTTLA_BIN;
  const name = `@ottla/${process.platform}-${process.arch}`;
  try {
    return require.resolve(`${name}/ottla`);
  } catch {
    throw new Error(`${name} is not installed: npm leaves it out where optional dependencies are off, or there is none for this platform; OTTLA_BIN may name a binary`);
  }
}

/** What the log is cut to: enough for an error, not for the memory of a long run. */
const LOG_CHARACTERS = 1 << 20;

/** Starts a broker and waits until it serves. `config` are Kafka's server properties. */
async function startBroker({ config = {}, args = [], timeoutMs = 30_000 } = {}) {
  const overrides = Object.entries(config).map(([key, value]) => `--override=${key}=${value}`);
  const fixed = ['--ephemeral', '--listen', '127.0.0.1:0', '--stop-with-stdin'];
  const child = spawn(binary(), [...fixed, ...overrides, ...args], {
    // It ends when the other end of its stdin is closed, which the system does when this process is gone.
    stdio: ['pipe', 'pipe', 'pipe'],
    // Ctrl-C ends the tests first, and they end the broker.
    detached: true,
  });
  const exited = new Promise((resolve) => {
    child.once('exit', (code, signal) => resolve(code ?? signal));
    child.once('error', (error) => resolve(error.message));
  });
  child.stdin.on('error', () => {}); // closed by a broker that has ended: `exited` tells
  let log = '';
  child.stderr.setEncoding('utf8').on('data', (text) => {
    log = (log + text).slice(-LOG_CHARACTERS);
  });
  const stop = async () => {
    child.ref(); // until it is gone
    child.kill('SIGTERM');
    await exited;
  };

  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`the broker was not ready after ${timeoutMs} ms`)), timeoutMs);
  });
  const ended = exited.then(async (how) => {
    if (!child.stderr.readableEnded && child.pid) await once(child.stderr, 'end');
    throw new Error(`the broker did not start (${how})`);
  });
  ended.catch(() => {}); // it ends some time
  let brokers;
  try {
    const line = await Promise.race([firstLine(child.stdout), late, ended]);
    const told = /clients connect to ([^;]+);/.exec(line);
    if (!told) throw new Error(`the broker does not say where clients connect: ${line}`);
    brokers = told[1].split(', ');
  } catch (error) {
    child.kill('SIGKILL');
    throw new Error(`${error.message}; it logged:\n${log}`, { cause: error });
  } finally {
    clearTimeout(timer);
  }
  // A broker that somebody forgot to stop does not keep this process from its end, with which it ends itself.
  for (const handle of [child, child.stdin, child.stdout, child.stderr]) handle.unref();
  return {
    bootstrap: brokers.join(','),
    brokers,
    pid: child.pid,
    log: () => log,
    stop,
  };
}

function firstLine(stream) {
  return new Promise((resolve) => {
    let text = '';
    const read = (piece) => {
      text += piece;
      const end = text.indexOf('\n');
      if (end < 0) return;
      stream.off('data', read).resume();
      resolve(text.slice(0, end));
    };
    stream.setEncoding('utf8').on('data', read);
  });
}

module.exports = { binary, startBroker };
