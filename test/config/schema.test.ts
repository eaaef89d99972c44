import { describe, expect, test } from 'vitest';

import { Config } from '../../src/config/schema.ts';
import { loadText, problemsOfText } from './support.ts';

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
      log: { level: 'info' },
      state: { dir: '/var/lib/evictd' },
      control: { socket: '/run/evictd/evictd.sock' },
    });
  });

  test('of a hook', async () => {
    const { config } = await loadText('hooks:\n  - { name: a, run: [/bin/true] }\n');
    expect(config.hooks).toEqual([
      {
        name: 'a',
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
      sets: [{ name: 'job', path: '/var/lib/job', include: ['**'], exclude: [], priority: 50 }],
      background: { interval: 30_000, idle: 5000, maxRate: 50 * 1024 ** 2 },
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
      /^config\.yaml:1:23: imds\.pollInterval: 1 is not text; allowed: a duration from 250ms to 1m$/,
    ],
    ['imds: { pollInterval: 5 parsecs }', /imds\.pollInterval: "5 parsecs" is not a duration; allowed: /],
    ['imds: { pollInterval: 100ms }', /imds\.pollInterval: "100ms" is less than 250ms; /],
    ['imds: { endpoint: "http://127.0.0.1/metadata" }', /imds\.endpoint: .* is not a base address/],
    ['imds: { endpoint: "https://127.0.0.1" }', /imds\.endpoint: .* is not a base address/],
    ['window: { reserve: 10s }', /window\.reserve: "10s" is not less than window\.urgent/],
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
    ['hooks: [{ name: a }]', /hooks\[0\]: a map is without any of run, systemd and http/],
    ['hooks: [{ name: a, run: [/b], http: { url: "http://a" } }]', /with run and http, but takes only one/],
    ['hooks: [{ name: a, run: [./stop] }]', /hooks\[0\]\.run: a list is not starting with a program/],
    ['hooks: [{ name: a, run: [""] }]', /hooks\[0\]\.run: a list is not starting with a program/],
    ['hooks: [{ name: a, run: [] }]', /hooks\[0\]\.run: a list is not starting with/],
    ['hooks: [{ name: a, run: stop }]', /hooks\[0\]\.run: "stop" is not a list/],
    [
      'hooks: [{ name: a, systemd: { unit: a.service, action: stop }, user: b }]',
      /hooks\[0\]\.user: .* without run/,
    ],
    ['hooks: [{ name: a, systemd: { unit: nginx, action: stop } }]', /"nginx" is not a unit name/],
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
    ['notify: [{ name: a }]', /notify\[0\]: a map is without webhook and storageQueue/],
    ['checkpoint: {}', /checkpoint\.store: is missing/],
    ['checkpoint: { store: {} }', /checkpoint\.store\.url: is missing; allowed: https:/],
    ['[1, 2]', /not a map of keys/],
  ])('%s', async (text, problem) => {
    const problems = await problemsOfText(`${text}\n`);
    expect(problems).toHaveLength(1);
    expect(problems[0]).toMatch(problem);
  });

  test.each<[line: string, problem: RegExp]>([
    ['key: "{vmNam}"', /checkpoint\.key: "\{vmNam\}" is not a usable key/],
    ['key: "../other"', /checkpoint\.key: /],
    ['key: "a//b"', /checkpoint\.key: /],
    ['keep: 0', /checkpoint\.keep: 0 is less than 1; allowed: a whole number from 1/],
    ['background: { interval: 1ms }', /checkpoint\.background\.interval: "1ms" is less than 1s/],
    ['background: true', /checkpoint\.background: true is .*; allowed: false, or a map with interval/],
    ['every: 1s', /checkpoint\.every: "1s" is less than 10s/],
    ['sets: [{ name: a, path: / }]', /checkpoint\.sets\[0\]\.path: "\/" is the whole file system/],
    ['sets: [{ name: a, path: b }]', /checkpoint\.sets\[0\]\.path: "b" is not an absolute path/],
    ['sets: [{ name: a, path: /a/../b }]', /checkpoint\.sets\[0\]\.path: /],
    ['sets: [{ name: reports, path: /a }]', /"reports" is reserved for the reports of drains/],
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

describe('warnings', () => {
  test('name folders inside of one another once', async () => {
    const { warnings } = await loadText(
      `${STORE}  sets: [{ name: a, path: /v }, { name: b, path: /v/w }, { name: c, path: /vw }]\n`,
    );
    expect(warnings).toEqual([expect.stringContaining('"b" lies in that of "a"')]);
  });

  test('name a store without sets and hooks that never run', async () => {
    const { warnings } = await loadText(`${STORE}hooks: [{ name: h, run: [/b], on: [Freeze] }]\n`);
    expect(warnings).toEqual([
      expect.stringContaining('no set'),
      expect.stringContaining('"h" is set for Freeze'),
    ]);
  });
});
