import { chmod, chown, mkdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { describe, expect, test } from 'vitest';

import { loadConfig } from '../../src/config/load.ts';
import { ConfigInvalid } from '../../src/config/problem.ts';
import { HOOK_VARIABLES } from '../../src/core/hook-variables.ts';
import { configFolder, loadText, problemsOf, problemsOfText } from './support.ts';

describe('files', () => {
  test('are merged in name order: maps deeply, hooks and sets by name, other lists replaced', async () => {
    const folder = await configFolder();
    const file = await folder.write(
      'config.yaml',
      `
log: { level: warn }
imds: { pollInterval: 2s }
hooks:
  - { name: a, run: [/bin/a, -x], order: 1 }
  - { name: b, run: [/bin/b] }
checkpoint:
  store: { url: "https://acc.blob.core.windows.net/ckpt" }
  sets: [{ name: job, path: /job, exclude: ["*.tmp"] }]
`,
    );
    await folder.write(
      'conf.d/20-b.yaml',
      'imds: { requestTimeout: 9s }\nhooks:\n  - { name: c, run: [/bin/c] }\n',
    );
    await folder.write(
      'conf.d/10-a.yaml',
      'imds: { requestTimeout: 5s }\nhooks:\n  - { name: a, run: [/bin/z] }\n',
    );
    await folder.write('conf.d/30-c.yaml', 'checkpoint:\n  sets: [{ name: job, exclude: ["*.bak"] }]\n');
    await folder.write('conf.d/ignored.yml', 'nonsense: true\n');
    const { config, files, origins } = await loadConfig({ env: {}, file });
    expect(files).toEqual(
      ['config.yaml', 'conf.d/10-a.yaml', 'conf.d/20-b.yaml', 'conf.d/30-c.yaml'].map((name) =>
        join(folder.path, name),
      ),
    );
    expect(config.imds).toMatchObject({ pollInterval: 2000, requestTimeout: 9000 });
    expect(config.hooks.map(({ name, run, order }) => ({ name, run, order }))).toEqual([
      { name: 'a', run: ['/bin/z'], order: 1 },
      { name: 'b', run: ['/bin/b'], order: 50 },
      { name: 'c', run: ['/bin/c'], order: 50 },
    ]);
    expect(config.checkpoint?.sets).toMatchObject([{ name: 'job', path: '/job', exclude: ['*.bak'] }]);
    expect(origins.get('imds.requestTimeout')).toBe(`${folder.path}/conf.d/20-b.yaml:1:25`);
    expect(origins.get('hooks[0].order')).toBe(`${file}:5:42`);
    expect(origins.has('log.level')).toBe(true);
    expect(origins.has('state.dir')).toBe(false);
  });

  test('may be missing by default, but not when named', async () => {
    const folder = await configFolder();
    const missing = join(folder.path, 'missing.yaml');
    expect((await loadConfig({ env: {}, defaultFile: missing })).files).toEqual([]);
    expect(await problemsOf(() => loadConfig({ env: {}, file: missing }))).toEqual([
      `${missing}: there is no such file`,
    ]);
  });

  test('of conf.d apply without a main file', async () => {
    const folder = await configFolder();
    await folder.write('conf.d/a.yaml', 'log: { level: debug }\n');
    const { config } = await loadConfig({ env: {}, defaultFile: join(folder.path, 'config.yaml') });
    expect(config.log.level).toBe('debug');
  });

  test('of conf.d that are not read because of their names are mentioned', async () => {
    const folder = await configFolder();
    const file = await folder.write('config.yaml', 'log: {}\n');
    for (const name of ['a.yaml', 'b.yml', 'c.yaml.bak', 'd', '.e.yaml', '.f.swp', '.gitignore'])
      await folder.write(`conf.d/${name}`, 'log: {}\n');
    const { files, warnings } = await loadConfig({ env: {}, file });
    expect(files).toEqual([file, join(folder.path, 'conf.d/a.yaml')]);
    expect(warnings.filter((text) => text.includes('is not read')).map((text) => text.split(' ')[0])).toEqual(
      ['.e.yaml', 'b.yml', 'c.yaml.bak', 'd'].map((name) => join(folder.path, 'conf.d', name)),
    );
  });

  test('may have empty sections', async () => {
    const { config } = await loadText('# nothing\nimds:\n  # pollInterval: 2s\nlog:\n  level: debug\n');
    expect(config.imds.pollInterval).toBe(1000);
    expect((await loadText('')).config.log.level).toBe('info');
  });
});

describe('all problems are named at once', () => {
  test('of files, variables and flags, with their places', async () => {
    const problems = await problemsOfText('imds:\n  pollIntervall: 1s\nlog: { level: loud }\n', {
      env: { EVICTD_LOG_LEVL: 'info', EVICTD_CHECKPOINT_KEEP: 'many' },
      overrides: [{ flag: '--imds', path: ['imds', 'endpoint'], value: 'nonsense' }],
    });
    expect(problems.toSorted()).toEqual(
      [
        'environment EVICTD_LOG_LEVL: no key has this name; did you mean EVICTD_LOG_LEVEL?',
        '--imds: imds.endpoint: "nonsense" is not a base address; allowed: http://HOST[:PORT] without a path',
        'config.yaml:2:3: imds.pollIntervall: is not a known key; did you mean "pollInterval"?; allowed: endpoint, pollInterval, requestTimeout, apiVersion',
        'environment EVICTD_CHECKPOINT_KEEP: checkpoint.store: is missing; allowed: a map with url, auth',
        'environment EVICTD_CHECKPOINT_KEEP: checkpoint.keep: "many" is not one of the values; allowed: a whole number from 1 to 10000, or a map with last, hourly and daily',
        'config.yaml:3:15: log.level: "loud" is not one of the values; allowed: trace | debug | info | warn | error',
      ].toSorted(),
    );
  });

  test('in one error with a stable code and a remedy', async () => {
    const folder = await configFolder();
    const file = await folder.write('config.yaml', 'a: 1\nb: 2\n');
    const error: unknown = await loadConfig({ env: {}, file }).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(ConfigInvalid);
    expect(error).toMatchObject({ code: 'config-invalid', problems: [{ key: 'a' }, { key: 'b' }] });
    expect(error).toHaveProperty('remedy', expect.stringContaining('evictd config check'));
    expect(String(error)).toContain('2 problems');
  });

  test('and what an unreadable file would have set is not called missing', async () => {
    const folder = await configFolder();
    const file = await folder.write('config.yaml', 'checkpoint: { store: { url: "unclosed }\n');
    await folder.write('conf.d/a.yaml', 'checkpoint: { keep: 3 }\n');
    const problems = await problemsOf(() => loadConfig({ env: {}, file }));
    expect(problems.join('\n')).toMatch(/config\.yaml:\d+:\d+: not valid YAML: /);
    expect(problems.join('\n')).not.toContain('missing');
  });
});

describe('YAML', () => {
  test.each<[what: string, text: string, problem: RegExp]>([
    [
      'a key twice',
      'log: { level: info }\nlog: { level: warn }\n',
      /^config\.yaml:2:1: the key stands here a second time$/,
    ],
    [
      'a hook name twice',
      'hooks:\n  - { name: a, run: [/a] }\n  - { name: a, run: [/b] }\n',
      /^config\.yaml:3:13: hooks\[1\]\.name: "a" is used twice/,
    ],
    ['an unknown tag', 'log: !!js/function "x"\n', /^config\.yaml:1:6: not valid YAML: /],
    ['two documents', 'log: {}\n---\nlog: {}\n', /^config\.yaml:2:1: not valid YAML: /],
    [
      'an alias of nothing',
      'hooks: *common\n',
      /:1:8: \*common stands for a value named &common, and there is none; allowed: '\*common'/,
    ],
    ['a pattern that is one', 'checkpoint: { sets: [{ include: *.ckpt }] }\n', /:1:33: \*\.ckpt stands for/],
    ['an alias to itself', 'hooks: &a [*a]\n', /nested too deeply/],
    ['a key like __proto__', '__proto__: { a: 1 }\n', /a key has to be plain text/],
    ['a list as key', '? [a]\n: 1\n', /a key has to be plain text/],
  ])('refuses %s', async (_, text, problem) => {
    const problems = await problemsOfText(text);
    expect(problems[0]).toMatch(problem);
    expect(Object.prototype).not.toHaveProperty('a');
  });

  test('refuses bytes that are not UTF-8, and says in which line', async () => {
    const folder = await configFolder();
    const file = await folder.write('config.yaml', '');
    await writeFile(file, Buffer.from('log: { level: info }\n# caf\xe9\n', 'latin1'));
    const problems = await problemsOf(() => loadConfig({ env: {}, file }));
    expect(problems).toEqual([`${file}:2: not UTF-8; allowed: text in UTF-8`]);
  });

  test('refuses aliases that multiply to millions of values, at once', async () => {
    const levels = Array.from(
      { length: 9 },
      (_, index) => `l${index + 1}: &l${index + 1} [${Array(9).fill(`*l${index}`).join(', ')}]`,
    );
    const problems = await problemsOfText(`l0: &l0 [a]\n${levels.join('\n')}\n`);
    expect(problems).toEqual([expect.stringMatching(/too many values/)]);
  });

  test('understands ordinary aliases', async () => {
    const { config } = await loadText(
      'hooks:\n  - { name: a, run: &argv [/bin/a] }\n  - { name: b, run: *argv }\n',
    );
    expect(config.hooks[1]?.run).toEqual(['/bin/a']);
  });
});

describe('variables', () => {
  test('set single values of any kind, above files', async () => {
    const { config, origins } = await loadText('imds: { pollInterval: 2s }\n', {
      env: {
        EVICTD_IMDS_POLL_INTERVAL: '500ms',
        EVICTD_EVENTS_ACK_SHARED: 'true',
        EVICTD_EVENTS_SPOT_REBALANCE_RECOMMENDATION_CHECKPOINT: 'false',
        EVICTD_CHECKPOINT_STORE_URL: 'http://127.0.0.1:10000/devstoreaccount1/ckpt',
        EVICTD_CHECKPOINT_STORE_AUTH_KIND: 'azurite',
        EVICTD_CHECKPOINT_KEEP: '7',
        EVICTD_VM_NAME: '12345',
        EVICTD_METRICS_LISTEN: '127.0.0.1:9464',
        EVICTD_HOOKS_DIR: '/hooks',
        PATH: '/bin',
        // What the commands themselves take.
        EVICTD_CONFIG: '/etc/other.yaml',
        EVICTD_IMDS: 'http://127.0.0.1:1',
        // As when a hook starts it.
        ...Object.fromEntries(HOOK_VARIABLES.map((name) => [name, 'x'])),
      },
    });
    expect(config).toMatchObject({
      imds: { pollInterval: 500 },
      events: { ackShared: true, types: { SpotRebalanceRecommendation: { checkpoint: false } } },
      checkpoint: { store: { auth: { kind: 'azurite' } }, keep: 7 },
      vm: { name: '12345' },
      metrics: { listen: { port: 9464 } },
      hooksDir: '/hooks',
    });
    expect(origins.get('imds.pollInterval')).toBe('environment EVICTD_IMDS_POLL_INTERVAL');
  });

  test('that hooks are given are no configuration', async () => {
    const names = [
      'EVENT_ID',
      'EVENT_TYPE',
      'STAGE',
      'DEADLINE',
      'SECONDS_LEFT',
      'TIMEOUT_SECONDS',
      'ATTEMPT',
      'DRILL',
      'HOOK',
    ];
    const env = Object.fromEntries(names.map((name) => [`EVICTD_${name}`, 'x']));
    expect((await loadText('', { env })).origins.size).toBe(0);
  });
});

describe('file modes', () => {
  test.each([0o664, 0o646, 0o666])('refuse a file of mode %o', async (mode) => {
    const folder = await configFolder();
    const file = await folder.write('config.yaml', 'log: {}\n');
    await chmod(file, mode);
    const problems = await problemsOf(() => loadConfig({ env: {}, file }));
    expect(problems).toEqual([expect.stringContaining(`(mode 0${mode.toString(8)}, owner uid `)]);
    expect(problems[0]).toContain(`chmod go-w ${file}`);
  });

  test('refuse a writable conf.d and a writable file in it', async () => {
    const folder = await configFolder();
    const file = await folder.write('config.yaml', 'log: {}\n');
    const dropIn = await folder.write('conf.d/a.yaml', 'log: {}\n');
    await chmod(dropIn, 0o666);
    expect(await problemsOf(() => loadConfig({ env: {}, file }))).toEqual([
      expect.stringContaining('conf.d/a.yaml'),
    ]);
    await chmod(dropIn, 0o644);
    await chmod(join(folder.path, 'conf.d'), 0o777);
    expect(await problemsOf(() => loadConfig({ env: {}, file }))).toEqual([
      expect.stringContaining(`chmod go-w ${folder.path}/conf.d`),
    ]);
  });

  test('look at what a link points to', async () => {
    const folder = await configFolder();
    const file = await folder.write('real.yaml', 'log: {}\n');
    await chmod(file, 0o666);
    await symlink(file, join(folder.path, 'config.yaml'));
    expect(
      await problemsOf(() => loadConfig({ env: {}, file: join(folder.path, 'config.yaml') })),
    ).toHaveLength(1);
  });

  test.runIf(process.getuid?.() === 0)('refuse a file of another user', async () => {
    const folder = await configFolder();
    const file = await folder.write('config.yaml', 'log: {}\n');
    await chown(file, 12_345, 12_345);
    expect(await problemsOf(() => loadConfig({ env: {}, file }))).toEqual([
      expect.stringMatching(/owner uid 12345\); allowed: .*; run: chown root /),
    ]);
  });

  test('refuse a folder and a file that is too large', async () => {
    const folder = await configFolder();
    await mkdir(join(folder.path, 'config.yaml'));
    expect(await problemsOf(() => loadConfig({ env: {}, file: join(folder.path, 'config.yaml') }))).toEqual([
      expect.stringContaining('is a folder; allowed: a YAML file'),
    ]);
    const large = await folder.write('large.yaml', `# ${'x'.repeat(1024 ** 2)}\n`);
    expect(await problemsOf(() => loadConfig({ env: {}, file: large }))).toEqual([
      expect.stringContaining('larger than 1 MiB'),
    ]);
  });
});
