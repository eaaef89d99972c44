import { glob, readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';

import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';

import { EvictdError } from '../../src/base/errors.ts';
import { redact, redactDeep } from '../../src/base/redact.ts';
import { shapes } from './secret-shapes.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

describe('redact', () => {
  for (const [name, secretShape] of Object.entries(shapes)) {
    test(`a random ${name} never survives, whatever is around it`, () => {
      fc.assert(
        fc.property(fc.string(), secretShape, fc.string(), (before, { text, secret }, after) => {
          const around = [`${before} ${text} ${after}`, `${before}\n${text}`];
          for (const candidate of around) {
            const clean = redact(candidate);
            expect(clean).not.toContain(secret);
            expect(clean).toContain('[redacted]');
          }
          expect(JSON.stringify(redactDeep({ a: [{ text }] }))).not.toContain(secret);
          expect(JSON.stringify(redactDeep(new Error(`x ${text}`)))).not.toContain(secret);
        }),
      );
    });
  }

  test('what is no secret stays as it is', () => {
    const texts = [
      'hook drain-nginx ended with 3 after 1.2 s',
      'GET http://169.254.169.254/metadata/scheduledevents?api-version=2020-07-01',
      'block q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA= was staged',
      'AuthorizationPermissionMismatch: this request is not authorized',
      '602d9444-d2cd-49c7-8624-8643e7171297',
      'the bearer of bad news',
      'no token: ask the identity',
      'the cookie jar is full',
      '-----BEGIN CERTIFICATE-----',
      'https://hooks.slack.com/ is reachable',
      'tokens=512 per second',
    ];
    for (const text of texts) expect(redact(text)).toBe(text);
  });

  test('no text that the program itself says is taken for a secret', async () => {
    const changed: string[] = [];
    for await (const file of glob('src/**/*.ts', { cwd: ROOT })) {
      if (file === 'src/base/redact.ts') continue;
      const source = await readFile(`${ROOT}/${file}`, 'utf8');
      const code = source.replaceAll(/^ *(?:\/\/|\/?\*).*$/gm, '');
      const literals = code.match(/'(?:[^'\\\n]|\\.)*'|`[^`\n]*`/g) ?? [];
      // Those for people have spaces; what is put into them is redacted where it comes from.
      const texts = literals
        .filter((text) => text.includes(' '))
        .map((text) => text.replaceAll(/\$\{[^}]*\}/g, 'X'));
      changed.push(...texts.filter((text) => redact(text) !== text));
    }
    expect(changed).toEqual([]);
  });

  test('the address of a blob stays readable', () => {
    expect(redact('PUT https://a.blob.core.windows.net/c/b.bin?sv=1&sig=abc%3D failed')).toBe(
      'PUT https://a.blob.core.windows.net/c/b.bin?[redacted] failed',
    );
  });

  test('redacting twice changes nothing more', () => {
    fc.assert(
      fc.property(fc.oneof(...Object.values(shapes)), ({ text }) => {
        expect(redact(redact(text))).toBe(redact(text));
      }),
    );
  });

  test.each([
    '?',
    'eyJ',
    'eyJ-',
    'sig',
    'Bearer ',
    '://',
    '://a:',
    'authorization ',
    'access_token" ',
    'A',
    'AccountKey\\',
    'cookie: a="',
    'password="',
    'token=',
    'hooks.slack.com/',
    '-----BEGIN PRIVATE KEY-----',
    '-----END PRIVATE KEY',
    'ghp_',
    '\\"',
  ])('time grows with the length of a text of %j, not with its square', (part) => {
    const text = part.repeat(Math.ceil(1_000_000 / part.length));
    const startedAt = performance.now();
    redact(text);
    // A square would take hours; a loaded machine some hundred ms.
    expect(performance.now() - startedAt).toBeLessThan(5000);
  });
});

describe('redactDeep', () => {
  test('a field named for a secret loses its value whatever it looks like', () => {
    expect(
      redactDeep({ password: 'abc', Authorization: ['x'], identity: { accessToken: 'y', tokenType: 'z' } }),
    ).toEqual({
      password: '[redacted]',
      Authorization: '[redacted]',
      identity: { accessToken: '[redacted]', tokenType: 'z' },
    });
  });

  test('an error becomes its code, message, remedy and causes, without what SDKs attach to it', () => {
    const low = Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' });
    const rest = Object.assign(new Error('failed with sig=abcdef', { cause: low }), {
      code: 'AuthenticationFailed',
      statusCode: 403,
      request: { headers: { authorization: 'Bearer abcdefghij' } },
    });
    const error = new EvictdError('store', 'could not commit', { cause: rest, remedy: 'give it a role' });
    expect(redactDeep({ error })).toEqual({
      error: {
        name: 'EvictdError',
        code: 'store',
        message: 'could not commit',
        remedy: 'give it a role',
        cause: {
          name: 'Error',
          code: 'AuthenticationFailed',
          statusCode: 403,
          message: 'failed with sig=[redacted]',
          cause: { name: 'Error', code: 'ECONNREFUSED', message: 'connect ECONNREFUSED' },
        },
      },
    });
  });

  test('an error without a code keeps its stack, since it is a fault of the program', () => {
    expect(redactDeep(new TypeError('x is undefined'))).toMatchObject({
      name: 'TypeError',
      stack: expect.any(String),
    });
  });

  test('any value becomes bounded JSON, also cycles and objects that throw', () => {
    const cycle: Record<string, unknown> = {
      at: new Date(0),
      url: new URL('https://a/b?sig=c'),
      bytes: new Uint8Array(9),
    };
    cycle['self'] = cycle;
    cycle['map'] = new Map([['key', new Set([1n, Number.NaN])]]);
    Object.defineProperty(cycle, 'trap', {
      enumerable: true,
      get: () => ({
        get inner() {
          throw new Error('no');
        },
      }),
    });
    const copied = redactDeep(cycle);
    expect(copied).toMatchObject({
      at: '1970-01-01T00:00:00.000Z',
      url: 'https://a/b?[redacted]',
      bytes: '[9 bytes]',
      map: { key: ['1', 'NaN'] },
      trap: '[unreadable]',
    });
    expect(JSON.stringify(copied).length).toBeLessThan(10_000);
    fc.assert(
      fc.property(
        fc.anything({ withBigInt: true, withDate: true, withMap: true, withSet: true }),
        (value) => {
          expect(() => JSON.stringify(redactDeep(value))).not.toThrow();
        },
      ),
    );
  });

  test('long strings, long lists and many fields are cut, and it is said how much is missing', () => {
    const limits = { depthMax: 3, entriesMax: 3, stringMax: 10, bytesMax: 100 };
    expect(redactDeep({ text: 'x'.repeat(15), list: [1, 2, 3, 4, 5] }, limits)).toEqual({
      text: `${'x'.repeat(10)}… [5 more characters]`,
      list: [1, 2, 3, '… [2 more]'],
    });
    const huge = redactDeep(Array.from({ length: 100 }, () => ({ text: '\u0001'.repeat(1_000_000) })));
    expect(Buffer.byteLength(JSON.stringify(huge))).toBeLessThan(45 * 1024);
  });

  test('a secret that is cut by the limit of what is searched does not show its first half', () => {
    const key = `${'k'.repeat(86)}==`;
    const text = `${`${'a'.repeat(86)}== `.repeat(730)}${' '.repeat(530)}${key} ${'b'.repeat(1000)}`;
    const copied = redactDeep(text, { depthMax: 1, entriesMax: 1, stringMax: 100_000, bytesMax: 1_000_000 });
    expect(copied).not.toContain('kkkk');
  });
});
