import { spawn } from 'node:child_process';
import { readFile, readdir, stat, writeFile } from 'node:fs/promises';
import { createServer, request } from 'node:http';
import { join } from 'node:path';

import { describe, expect, onTestFinished, test } from 'vitest';

import { missingPackages } from '../tools/ensure-debian-packages.ts';
import { DRAIN, HOOKS, LIMIT_MS, appears, ended, runHook, temporaryFolder } from './recipe.ts';

const FAKES: Readonly<Record<string, string>> = {
  systemctl:
    'case $1 in stop) : > "$FOLDER/down" ;; kill) [ -n "${BUSY:-}" ] || : > "$FOLDER/down" ;; ' +
    'is-active) [ ! -e "$FOLDER/down" ] ;; esac',
  squeue: 'printf "12\\n14\\n"',
  scontrol: '',
  kubectl: '',
  docker: '',
  podman: '',
  hostname: 'echo Node-7',
};

/** What the hook has called, without the questions that only look. */
async function callsOf(args: readonly string[], env: Readonly<Record<string, string>>) {
  const folder = await temporaryFolder();
  for (const [name, body] of Object.entries(FAKES)) {
    const script = `#!/bin/sh\necho ${name} "$@" >> "$FOLDER/calls"\n${body}\n`;
    await writeFile(join(folder, name), script, { mode: 0o755 });
  }
  expect(await runHook(args, env, folder)).toEqual({ code: 0, stderr: '' });
  const lines = (await readFile(join(folder, 'calls'), 'utf8')).trim().split('\n');
  return lines.filter((line) => !/^hostname|is-active --quiet/.test(line));
}

const RESUME = { EVICTD_STAGE: 'on-resume', EVICTD_TIMEOUT_SECONDS: '10' };
const DRILL = { ...DRAIN, EVICTD_DRILL: '1' };
const UNIT = 'actions.runner.o-r.n.service';

describe('a recipe', () => {
  test.for<[hook: string, env: Readonly<Record<string, string>>, calls: readonly string[]]>([
    ['github-runner ' + UNIT, DRAIN, [`systemctl stop ${UNIT}`]],
    ['github-runner ' + UNIT, DRILL, [`systemctl is-active ${UNIT}`]],
    ['github-runner ' + UNIT, RESUME, [`systemctl start ${UNIT}`]],
    [
      'gitlab-runner',
      DRAIN,
      [
        'systemctl kill --kill-who=main --signal=SIGQUIT gitlab-runner.service',
        'systemctl stop gitlab-runner.service',
      ],
    ],
    [
      'gitlab-runner other.service',
      { ...DRAIN, BUSY: '1', EVICTD_TIMEOUT_SECONDS: '2' },
      ['systemctl kill --kill-who=main --signal=SIGQUIT other.service', 'systemctl stop other.service'],
    ],
    ['gitlab-runner', DRILL, ['systemctl is-active gitlab-runner.service']],
    ['gitlab-runner', RESUME, ['systemctl start gitlab-runner.service']],
    ['container docker web db', DRAIN, ['docker stop -t 6 web db']],
    ['container podman web', { ...DRAIN, EVICTD_TIMEOUT_SECONDS: '1' }, ['podman stop -t 1 web']],
    ['container podman web', DRILL, ['podman inspect --format {{.Name}} {{.State.Status}} web']],
    ['container podman web', RESUME, ['podman start web']],
    [
      'slurm-node node-3',
      DRAIN,
      [
        'scontrol update NodeName=node-3 State=DRAIN Reason=evictd: Preempt E1',
        'squeue --noheader --format=%A --nodelist=node-3 --states=RUNNING',
        'scontrol requeue 12',
        'scontrol requeue 14',
      ],
    ],
    ['slurm-node node-3', DRILL, ['scontrol show node node-3']],
    ['slurm-node node-3', RESUME, ['scontrol update NodeName=node-3 State=RESUME']],
    [
      'kubectl-drain --kubeconfig=/k',
      DRAIN,
      [
        'kubectl --kubeconfig=/k drain node-7 --ignore-daemonsets --delete-emptydir-data --force --grace-period=6 --timeout=6s',
      ],
    ],
    [
      'kubectl-drain',
      DRILL,
      [
        'kubectl drain node-7 --ignore-daemonsets --delete-emptydir-data --force --grace-period=6 --timeout=6s --dry-run=server',
      ],
    ],
    ['kubectl-drain', RESUME, ['kubectl uncordon node-7']],
    ['nginx', RESUME, ['systemctl start nginx.service']],
  ])('%s with %j', async ([hook, env, calls]) => {
    expect(await callsOf(hook.split(' '), env)).toEqual(calls);
  });

  test.skipIf(missingPackages(['shellcheck']).length > 0)(
    'has nothing that shellcheck complains about',
    async () => {
      const names = (await readdir(HOOKS)).filter((name) => !name.endsWith('.md'));
      expect(names.length).toBeGreaterThan(5);
      const child = spawn('shellcheck', names, { cwd: HOOKS, stdio: ['ignore', 'pipe', 'inherit'] });
      let found = '';
      child.stdout.setEncoding('utf8').on('data', (chunk: string) => (found += chunk));
      await ended(child);
      expect(found).toBe('');
      const modes = await Promise.all(
        names.map(async (name) => (await stat(join(HOOKS, name))).mode & 0o777),
      );
      expect(new Set(modes)).toEqual(new Set([0o755]));
    },
  );
});

describe.skipIf(missingPackages(['nginx-light']).length > 0)('nginx', () => {
  test('finishes the request that it has, takes no more, and is over when the hook is', async () => {
    const folder = await temporaryFolder();
    const socket = join(folder, 'nginx.sock');
    const backendSocket = join(folder, 'backend.sock');
    const asked = Promise.withResolvers<() => void>();
    const backend = createServer(({ url }, response) => {
      if (url === '/slow') asked.resolve(() => response.end('done'));
      else response.end();
    });
    onTestFinished(() => void backend.close());
    await new Promise<void>((resolve) => {
      backend.listen(backendSocket, resolve);
    });
    const pidfile = join(folder, 'nginx.pid');
    const config = `daemon off; user root; pid ${pidfile}; error_log stderr; events {} http { access_log off;
      client_body_temp_path ${folder}; proxy_temp_path ${folder}; fastcgi_temp_path ${folder};
      uwsgi_temp_path ${folder}; scgi_temp_path ${folder};
      server { listen unix:${socket}; location / { proxy_pass http://unix:${backendSocket}; } } }`;
    await writeFile(join(folder, 'nginx.conf'), config);
    const server = spawn('/usr/sbin/nginx', ['-e', 'stderr', '-c', join(folder, 'nginx.conf')], {
      stdio: 'ignore',
    });
    onTestFinished(() => void server.kill('SIGKILL'));
    const isOver = ended(server);
    await appears(pidfile);
    const answer = get(socket, '/slow');
    const finish = await asked.promise;
    expect(await runHook(['nginx', pidfile], DRILL)).toEqual({ code: 0, stderr: '' });
    const hook = runHook(['nginx', pidfile], DRAIN);
    // The old request goes on, and the hook with it.
    await expect.poll(() => get(socket).catch(() => 'refused'), { timeout: LIMIT_MS }).toBe('refused');
    finish();
    expect(await answer).toBe('done');
    expect(await hook).toEqual({ code: 0, stderr: '' });
    expect(await isOver).toBe(0);
    // There is nothing left to stop, as when a crash made a second attempt of it.
    expect(await runHook(['nginx', pidfile], { ...DRAIN, EVICTD_ATTEMPT: '2' })).toMatchObject({ code: 0 });
  });
});

function get(socketPath: string, path = '/'): Promise<string> {
  return new Promise((resolve, reject) => {
    const asking = request({ socketPath, path, timeout: LIMIT_MS }, (response) => {
      let body = '';
      response.setEncoding('utf8').on('data', (chunk: string) => (body += chunk));
      response.once('end', () => resolve(body));
    });
    asking.once('error', reject);
    asking.end();
  });
}
