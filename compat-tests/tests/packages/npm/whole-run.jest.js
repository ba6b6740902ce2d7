const { comesBack } = require('./record.js');

test('a record comes back', async () => {
  expect(await comesBack([process.env.OTTLA_BOOTSTRAP], 'topic')).toBe('value');
}, 20_000);
