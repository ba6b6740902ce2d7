import { expect, inject, test } from 'vitest';
import { comesBack } from './record.js';

test('a record comes back', async () => {
  expect(process.env.OTTLA_BOOTSTRAP).toBe(inject('ottlaBootstrap'));
  expect(await comesBack([inject('ottlaBootstrap')], 'topic')).toBe('value');
}, 20_000);
