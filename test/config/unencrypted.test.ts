import { expect, test } from 'vitest';

import { loadText, problemsOfText } from './support.ts';

test.each([
  [
    'notify: [{ name: a, storageQueue: { url: "http://acc.queue.core.windows.net/q" } }]',
    /storageQueue\.url: .* is unencrypted, and would carry the secrets of checkpoint\.store\.auth; allowed: an https URL$/,
  ],
  [
    'notify: [{ name: a, storageQueue: { url: "https://acc.queue.core.windows.net/q?sv=1&sig=abcdef" } }]',
    /storageQueue\.url: .* is not the URL of a queue/,
  ],
  [
    'hooks: [{ name: a, http: { url: "http://prod.logic.azure.com/x?sig=abcdef" } }]',
    /http\.url: .* is unencrypted, and would carry the secret in it; allowed: an https URL$/,
  ],
])('an address that would send a secret in the clear is refused: %s', async (text, problem) => {
  const problems = await problemsOfText(`${text}\n`);
  expect(problems).toEqual([expect.stringMatching(problem)]);
  expect(problems.join()).not.toContain('abcdef');
});

test('what stays on this machine, or has no secret in it, needs no encryption', async () => {
  const { config } = await loadText(
    'hooks:\n' +
      '  - { name: a, http: { url: "http://127.0.0.1:8080/x?sig=abcdef" } }\n' +
      '  - { name: b, http: { url: "http://scheduler.internal/drain?pool=spot" } }\n' +
      'notify: [{ name: a, storageQueue: { url: "http://localhost:10001/devstoreaccount1/q" } }]\n',
  );
  expect(config.hooks).toHaveLength(2);
});
