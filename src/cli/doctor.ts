import { systemClock } from '../base/clock.ts';
import { shownDeep } from '../base/shown.ts';
import type { Finding } from '../daemon/doctor-finding.ts';
import { GREEN, RED, YELLOW, hasColors, paint } from './colors.ts';
import { type Command, EXIT, type Invocation } from './command.ts';
import { loadConfigFor } from './load-config.ts';
import { CONFIG_OPTION, IMDS_OPTION, JSON_OPTION } from './options.ts';

export const doctorCommand: Command = {
  name: 'doctor',
  summary: 'check everything that an eviction depends on',
  description:
    'One line each: ok, warn or fail, and what to do. Safe on a VM in production: nothing is changed, but for a probe ' +
    'blob that is written and removed. Run it as the user of the daemon, which normally is root.\n\n' +
    'Exit code 1 when anything fails, else 0.',
  options: [CONFIG_OPTION, IMDS_OPTION, JSON_OPTION],
  async run(invocation) {
    const { out, options } = invocation;
    const isJson = options['json'] === true;
    const onFinding = isJson
      ? () => undefined
      : (finding: Finding) => out.draw(describe(shownDeep(finding), invocation));
    const findings = await findAll(invocation, onFinding);
    const count = (state: Finding['state']) => findings.filter((finding) => finding.state === state).length;
    const summary = { ok: count('ok'), warn: count('warn'), fail: count('fail') };
    if (isJson) out.write(`${JSON.stringify({ version: 1, summary, findings })}\n`);
    else out.write(`\n${summary.ok} ok, ${summary.warn} to look at, ${summary.fail} failed\n`);
    return summary.fail > 0 ? EXIT.failed : EXIT.done;
  },
};

async function findAll(
  invocation: Invocation,
  onFinding: (finding: Finding) => void,
): Promise<readonly Finding[]> {
  const { env, err, signal } = invocation;
  const { examine } = await import('../daemon/doctor.ts');
  const patient = {
    loaded: await loadConfigFor(invocation),
    clock: systemClock,
    env,
    onProgress: (text: string) => err.write(`evictd: ${text}\n`),
    daemon: undefined,
    instance: undefined,
  };
  return examine(patient, onFinding, signal);
}

const COLORS: Readonly<Record<Finding['state'], number>> = {
  ok: GREEN,
  warn: YELLOW,
  fail: RED,
};
const INDENT = ' '.repeat(17);

function describe({ check, state, text, remedy }: Finding, invocation: Invocation): string {
  const word = paint(state.padEnd(4), COLORS[state], hasColors(invocation));
  const todo = remedy === undefined ? '' : `${INDENT}→ ${remedy}\n`;
  return `${word}  ${check.padEnd(9)}  ${text}\n${todo}`;
}
