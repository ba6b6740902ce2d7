module.exports = {
  globalSetup: 'ottla/jest-setup',
  globalTeardown: 'ottla/jest-teardown',
  testEnvironment: 'node',
  testMatch: ['**/whole-run.jest.js'],
};
