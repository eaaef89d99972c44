import { describe, expect, test } from 'vitest';

import { loadConfig } from '../../src/config/load.ts';
import { Config } from '../../src/config/schema.ts';
import { configFolder, loadText, problemsOf, problemsOfText } from './support.ts';

const STORE = 'checkpoint:\n  store: { url: "https://acc.blob.core.windows.net/ckpt" }\n';

describe('defaults', () => {
  test('are those of the contract', () => {
    expect(Config.parse({})).toEqual({
      imds: {
        endpoint: 'http://169.254.169.254',
        pollInterval: 1000,
        requestTimeout: 3000,
        apiVersion: 'auto',
      },
      vm: { name: 'auto' },
      window: { notice: 30_000, urgent: 10_000, reserve: 2000 },
      events: {
        ackShared: false,
        types: {
          Preempt: { drain: true, ack: 'after-success', checkpoint: false },
          Terminate: { drain: true, ack: 'after-success', checkpoint: false },
          Reboot: { drain: false, ack: 'user-initiated', checkpoint: false },
          Redeploy: { drain: false, ack: 'user-initiated', checkpoint: false },
          Freeze: { drain: false, ack: 'never', checkpoint: false },
          SpotRebalanceRecommendation: { drain: false, ack: 'never', checkpoint: true },
        },
      },
      hooks: [],
      hooksDir: '/etc/evictd/hooks.d',
      notify: [],
      log: { level: 'info', format: 'auto' },
      state: { dir: '/var/lib/evictd' },
      control: { socket: '/run/evictd/evictd.sock' },
    });
  });

  test('of a hook', async () => {
    const { config } = await loadText('hooks:\n  - { name: a, run: [/bin/true] }\n');
    expect(config.hooks).toEqual([
      {
        name: 'a',
        scope: 'own',
        stage: 'before-checkpoint',
        order: 50,
        timeout: 10_000,
        required: true,
        run: ['/bin/true'],
      },
    ]);
  });

  test('of a checkpoint section with a store and a set', async () => {
    const { config } = await loadText(`${STORE}  sets: [{ name: job, path: /var/lib/job }]\n`);
    expect(config.checkpoint).toEqual({
      store: { url: 'https://acc.blob.core.windows.net/ckpt', auth: { kind: 'managed-identity' } },
      key: '{vmName}',
      sets: [
        {
          name: 'job',
          path: '/var/lib/job',
          include: ['**'],
          exclude: [],
          priority: 50,
          compress: 'none',
          first: [],
          appendOnly: [],
          atDeadline: 'previous',
          together: [],
          hash: 'gmac-128',
        },
      ],
      background: { interval: 30_000, idle: 5000, maxRate: 50 * 1024 ** 2 },
      onShutdown: true,
      keep: 5,
    });
  });
});

describe('values', () => {
  test('of an event type are merged over its defaults key by key', async () => {
    const { config } = await loadText(
      'events:\n  Preempt: { ack: never }\n  Freeze: { drain: true }\n  ackShared: true\n',
    );
    expect(config.events.types['Preempt']).toEqual({ drain: true, ack: 'never', checkpoint: false });
    expect(config.events.types['Freeze']).toEqual({ drain: true, ack: 'never', checkpoint: false });
    expect(config.events.ackShared).toBe(true);
  });

  test('may name event types that are not known yet, with a warning', async () => {
    const { config, warnings } = await loadText('events:\n  Quarantine: { drain: true }\n');
    expect(config.events.types['Quarantine']).toEqual({ drain: true, ack: 'never', checkpoint: false });
    expect(warnings).toEqual([expect.stringContaining('events.Quarantine')]);
  });

  test('of every part of the contract are accepted', async () => {
    const { config } = await loadText(`
hooks:
  - { name: stop, on: [Preempt], stage: after-checkpoint, order: 10, timeout: 1.5s, required: false, run: [/bin/a, -b], user: worker }
  - { name: nginx, systemd: { unit: nginx.service, action: stop } }
  - { name: tell, http: { url: "https://scheduler.internal/drain" } }
  - { name: ring, scope: peers, on: [Preempt], run: [/bin/ring] }
checkpoint:
  store: { url: "http://127.0.0.1:10000/devstoreaccount1/ckpt/some/prefix", auth: { kind: azurite } }
  key: "{scaleSet}/{tag:job name}-x"
  background: false
  every: 10m
metrics: { listen: "[::1]:9464" }
health: { listen: 0.0.0.0:8080 }
notify:
  - { name: ops, webhook: { url-file: /etc/evictd/teams-url, template: teams } }
  - { name: requeue, storageQueue: { url: "https://acc.queue.core.windows.net/q" } }
`);
    expect(config.hooks[0]).toMatchObject({ timeout: 1500, user: 'worker', on: ['Preempt'] });
    expect(config.hooks[2]).toMatchObject({ http: { method: 'POST' } });
    expect(config.checkpoint).toMatchObject({ background: false, every: 600_000 });
    expect(config.metrics).toEqual({ listen: { host: '::1', port: 9464 } });
    expect(config.notify[0]?.webhook).toEqual({ 'url-file': '/etc/evictd/teams-url', template: 'teams' });
  });
});

describe('refused with key, value and what is allowed', () => {
  test.each<[text: string, problem: RegExp]>([
    [
      'imds: { pollInterval: 1 }',
      /^config\.yaml:1:23: imds\.pollInterval: 1 has no unit; did you mean 1s\?; allowed: a duration from 250ms to 1m$/,
    ],
    [
      'notify: [{ name: q, storageQueue: { url: https://a.queue.core.windows.net/ } }]',
      /storageQueue\.url: .* is not the URL of a queue/,
    ],
    ['imds: { pollInterval: 5 parsecs }', /imds\.pollInterval: "5 parsecs" is not a duration; allowed: /],
    ['imds: { pollInterval: "30" }', /imds\.pollInterval: 30 has no unit; did you mean 30s\?/],
    ['imds: { pollInterval: 100ms }', /imds\.pollInterval: "100ms" is less than 250ms; /],
    ['imds: { endpoint: "http://127.0.0.1/metadata" }', /imds\.endpoint: .* is not a base address/],
    ['imds: { endpoint: "https://127.0.0.1" }', /imds\.endpoint: .* is not a base address/],
    ['window: { reserve: 10s }', /window\.reserve: "10s" is not less than window\.urgent \(10s\)/],
    [
      'window: { notice: 5s }',
      /^config\.yaml:1:19: window\.urgent: the default 10s is more than window\.notice \(5s\); set window\.urgent too; allowed: at most window\.notice$/,
    ],
    [
      'window: { urgent: 1500ms }',
      /window\.reserve: the default 2s is not less than window\.urgent \(1500ms\); set window\.reserve too/,
    ],
    ['window: { urgent: 31s }', /window\.urgent: "31s" is more than window\.notice/],
    ['events: { Prempt: { drain: true } }', /events\.Prempt: not an event type; did you mean "Preempt"\?/],
    [
      'events: { Preempt: { ack: sometimes } }',
      /"sometimes" is not one of the values; allowed: after-success \| always/,
    ],
    ['events: { Preempt: { drain: yes } }', /events\.Preempt\.drain: "yes" is not true or false/],
    ['hooks: [{ name: a b, run: [/bin/a] }]', /hooks\[0\]\.name: "a b" is not a usable name/],
    ['hooks: [{ name: "..", run: [/bin/a] }]', /hooks\[0\]\.name: /],
    ['hooks: [{ run: [/bin/a] }]', /hooks\[0\]\.name: is missing/],
    ['hooks: [{ name: a }]', /hooks\[0\]: has none of run, systemd and http; allowed: exactly/],
    [
      'hooks: [{ name: a, run: [/b], http: { url: "http://a" } }]',
      /hooks\[0\]: has run and http, but may have only one/,
    ],
    ['hooks: [{ name: a, run: [./stop] }]', /hooks\[0\]\.run: does not start with a program; allowed: /],
    ['hooks: [{ name: a, run: [""] }]', /hooks\[0\]\.run: does not start with a program/],
    ['hooks: [{ name: a, run: [] }]', /hooks\[0\]\.run: does not start with a program/],
    [
      'hooks: [{ name: a, run: stop }]',
      /hooks\[0\]\.run: "stop" is not a list; .*such as run: \[\/usr\/local\/bin\/stop-workers, --now\]/,
    ],
    ['window: { notice: 10 minutes }', /"10 minutes" is not a duration; did you mean 10m\?/],
    ['window: { notice: 5Sec }', /"5Sec" is not a duration; did you mean 5s\?/],
    ['window: { notice: 5 parsecs }', /"5 parsecs" is not a duration; allowed/],
    [
      'hooks: [{ name: a, systemd: { unit: a.service, action: stop }, user: b }]',
      /hooks\[0\]\.user: .* without run/,
    ],
    ['hooks: [{ name: a, systemd: { unit: nginx, action: stop } }]', /"nginx" is not a unit name/],
    [
      'hooks: [{ name: a, systemd: { unit: a.service, action: stop, signal: SIGUSR1 } }]',
      /given without kill/,
    ],
    [
      'hooks: [{ name: a, run: [/b], scope: peers, stage: on-resume }]',
      /hooks\[0\]\.stage: .*given with scope: peers/,
    ],
    ['hooks: [{ name: a, run: [/b], order: 1.5 }]', /hooks\[0\]\.order: 1\.5 is not a whole number/],
    [
      'hooks: [{ name: a, run: [/b], stage: later }]',
      /allowed: before-checkpoint \| after-checkpoint \| on-resume/,
    ],
    ['hooksDir: hooks', /hooksDir: "hooks" is not an absolute path/],
    ['metrics: { listen: 9464 }', /metrics\.listen: 9464 is not text; allowed: HOST:PORT/],
    ['metrics: { listen: "a:99999" }', /metrics\.listen: "a:99999" is not an address/],
    ['log: { level: loud }', /log\.level: "loud" is not one of the values; allowed: trace \| debug/],
    [`control: { socket: /${'a'.repeat(107)} }`, /longer than the 107 bytes/],
    ['notify: [{ name: a }]', /notify\[0\]: has none of webhook and storageQueue/],
    ['checkpoint: {}', /checkpoint\.store: is missing/],
    ['checkpoint: { store: {} }', /checkpoint\.store\.url: is missing; allowed: https:/],
    ['[1, 2]', /not a map of keys/],
  ])('%s', async (text, problem) => {
    const problems = await problemsOfText(`${text}\n`);
    expect(problems).toHaveLength(1);
    expect(problems[0]).toMatch(problem);
  });

  test.each<[line: string, problem: RegExp]>([
    ['key: "{vmNam}"', /checkpoint\.key: "\{vmNam\}" is not a usable key; did you mean \{vmName\}\?/],
    ['key: "../other"', /checkpoint\.key: /],
    ['key: "a//b"', /checkpoint\.key: /],
    ['keep: 0', /checkpoint\.keep: 0 is less than 1; allowed: a whole number from 1/],
    ['background: { interval: 1ms }', /checkpoint\.background\.interval: "1ms" is less than 1s/],
    ['background: true', /checkpoint\.background: true is .*; allowed: false, or a map with interval/],
    ['every: 1s', /checkpoint\.every: "1s" is less than 10s/],
    ['sets: [{ name: a, path: / }]', /checkpoint\.sets\[0\]\.path: "\/" is the whole file system/],
    ['sets: [{ name: a, path: b }]', /checkpoint\.sets\[0\]\.path: "b" is not an absolute path/],
    ['sets: [{ name: a, path: /a/../b }]', /checkpoint\.sets\[0\]\.path: /],
    ['key: fleet/reports', /"fleet\/reports" is not a usable key.*sets, reports, drill or holds/],
    [
      'sets: [{ name: a, path: /v/w }, { name: b, path: /v }]',
      /sets\[0\].path.*inside the folder of the set "b"/,
    ],
    ['sets: [{ name: a, path: /v }, { name: b, path: /v/ }]', /inside the folder of the set "a"/],
    ['keep: { hourly: -1 }', /keep/],
    ['sets: [{ name: a, path: /a, include: ["../b"] }]', /include\[0\]: "\.\.\/b" is not a usable pattern/],
  ])('checkpoint: %s', async (line, problem) => {
    const problems = await problemsOfText(`${STORE}  ${line}\n`);
    expect(problems).toHaveLength(1);
    expect(problems[0]).toMatch(problem);
  });

  test.each<[url: string, auth: string, problem: RegExp]>([
    ['ftp://a/b', 'kind: managed-identity', /not an http or https URL/],
    ['https://acc.blob.core.windows.net', 'kind: managed-identity', /without a container/],
    [
      'https://acc.blob.core.windows.net/Bad_Name',
      'kind: managed-identity',
      /without a valid container name/,
    ],
    ['http://127.0.0.1:10000/devstoreaccount1', 'kind: azurite', /without a container/],
    ['http://acc.blob.core.windows.net/ckpt', 'kind: managed-identity', /unencrypted/],
    ['http://acc.blob.core.windows.net/ckpt', 'kind: sas, file: /a', /unencrypted/],
    [
      'https://acc.blob.core.windows.net/ckpt/%2e%2e/x',
      'kind: managed-identity',
      /not a usable path|container/,
    ],
  ])('store %s with %s', async (url, auth, problem) => {
    const problems = await problemsOfText(`checkpoint:\n  store: { url: "${url}", auth: { ${auth} } }\n`);
    expect(problems).toHaveLength(1);
    expect(problems[0]).toMatch(problem);
  });

  test('a kind of authentication that there is not, and what is wrong with the URL beside it', async () => {
    expect(await problemsOfText('checkpoint:\n  store: { url: "ftp://a/b", auth: { kind: key } }\n')).toEqual(
      [
        expect.stringContaining('"ftp://a/b" is not an http or https URL'),
        'config.yaml:2:44: checkpoint.store.auth.kind: "key" is not one of the values; allowed: managed-identity | connection-string | sas | azurite',
      ],
    );
  });

  test('a key of another kind of authentication than the one that a variable chooses', async () => {
    const text =
      'checkpoint:\n  store: { url: "https://acc.blob.core.windows.net/ckpt", auth: { kind: sas, file: /a } }\n';
    expect(await problemsOfText(text, { env: { EVICTD_CHECKPOINT_STORE_AUTH_KIND: 'azurite' } })).toEqual([
      'config.yaml:2:78: checkpoint.store.auth.file: does not go with kind azurite (set by environment EVICTD_CHECKPOINT_STORE_AUTH_KIND); allowed: kind',
    ]);
  });

  test('a hook or set of conf.d whose name is a slip', async () => {
    const folder = await configFolder();
    const hooks = 'hooks: [{ name: a, run: [/a] }, { name: b, run: [/b] }]\n';
    const file = await folder.write('config.yaml', `${hooks}${STORE}  sets: [{ name: job, path: /job }]\n`);
    await folder.write(
      'conf.d/slip.yaml',
      'hooks: [{ name: bb, order: 3 }]\ncheckpoint:\n  sets: [{ name: jbo, exclude: ["*.tmp"] }]\n',
    );
    const problems = await problemsOf(() => loadConfig({ env: {}, file }));
    expect(problems.map((line) => line.replaceAll(`${folder.path}/`, ''))).toEqual([
      'conf.d/slip.yaml:1:9: hooks[2]: hook "bb" is new here (known: a, b) and has none of run, systemd and http; allowed: exactly one of them',
      'conf.d/slip.yaml:3:10: checkpoint.sets[1].path: set "jbo" is new here (known: job) and has no path; allowed: an absolute path without ".." parts',
    ]);
  });

  test('without showing a secret that was put into the wrong place', async () => {
    const problems = await problemsOfText(`
checkpoint:
  store:
    url: "https://acc.blob.core.windows.net/ckpt?sv=2024&sig=TOPSECRET"
    auth: { kind: sas, file: "sv=2024&sig=TOPSECRET" }
notify:
  - { name: a, webhook: { url-file: "https://hooks.slack.com/services/TOPSECRET" } }
`);
    expect(problems).toHaveLength(3);
    expect(problems.join('\n')).not.toContain('TOPSECRET');
    expect(problems.join('\n')).toContain('auth: { kind: sas, file: FILE }');
  });
});
