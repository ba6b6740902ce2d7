#!/usr/bin/env node
'use strict';
// The broker itself. Signals that end this process are passed on, so that it stops in order.
const { spawn } = require('node:child_process');
const { binary } = require('..');

const child = spawn(binary(), process.argv.slice(2), { stdio: 'inherit' });
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal));
child.on('error', (error) => {
  console.error(`ottla: ${error.message}`);
  process.exitCode = 1;
});
child.on('exit', (code, signal) => {
  process.exitCode = code ?? 128 + require('node:os').constants.signals[signal];
});
