module.exports = { test: { globalSetup: 'ottla/vitest', include: ['whole-run.vitest.mjs'] } };
