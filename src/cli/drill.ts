import { writeFile } from 'node:fs/promises';

import { systemClock } from '../base/clock.ts';
import { EvictdError, messageOf } from '../base/errors.ts';
import { shownDeep } from '../base/shown.ts';
import type { DrillResult } from '../daemon/drill-result.ts';
import { hasColors } from './colors.ts';
import { type Command, EXIT, type ExitCode, type Invocation } from './command.ts';
import { describeDrill } from './drill-text.ts';
import { loadConfigFor } from './load-config.ts';
import { CONFIG_OPTION, IMDS_OPTION, JSON_OPTION, durationOption, textOption } from './options.ts';

export const drillCommand: Command = {
  name: 'drill',
  summary: 'rehearse an eviction on this machine',
  description:
    'Runs the real hooks, with EVICTD_DRILL=1 and then those of on-resume, and uploads what a notice would have to ' +
    'move now, below drill/KEY, which is removed again. Nothing is acknowledged to Azure, and neither the running ' +
    'daemon nor its checkpoints are touched; a real notice ends the drill at once. Hooks that must not do the real ' +
    'thing look at EVICTD_DRILL.\n\n' +
    'Exit code 4 when it does not fit the window, 1 when something is broken.',
  options: [
    { name: 'notice', value: 'D', description: 'time from the notice to the end (default: window.notice)' },
    { name: 'report', value: 'FILE', description: 'also write it as one self-contained HTML page' },
    CONFIG_OPTION,
    IMDS_OPTION,
    JSON_OPTION,
  ],
  async run(invocation) {
    const { options, out } = invocation;
    const result = await drill(invocation);
    const file = textOption(options, 'report');
    if (options['json'] === true) out.write(`${JSON.stringify(result)}\n`);
    else out.draw(describeDrill(shownDeep(result), hasColors(invocation)));
    // Last: whatever becomes of the page, the result is told.
    if (file !== undefined) await writePage(file, result);
    return EXIT_BY_VERDICT[result.verdict];
  },
};

const EXIT_BY_VERDICT: Readonly<Record<DrillResult['verdict'], ExitCode>> = {
  fits: EXIT.done,
  'too-slow': EXIT.tooSlow,
  fails: EXIT.failed,
};

async function drill(invocation: Invocation): Promise<DrillResult> {
  const { options, env, err, signal } = invocation;
  const { config } = await loadConfigFor(invocation);
  const { createLog } = await import('../observe/log.ts');
  const { tailing } = await import('../daemon/log-tail.ts');
  const { runDrill } = await import('../daemon/drill.ts');
  const noticeMs = durationOption(options, 'notice');
  // The log goes into the report; at the terminal there are its main points.
  const tail = tailing({ write: (_line, done) => done(true) });
  const log = createLog({ level: 'info', journald: false, destination: tail }, { clock: systemClock });
  return runDrill(
    { config, env, noticeMs },
    {
      clock: systemClock,
      log,
      logLines: () => tail.lines(),
      onNote: ({ fields: { hook, set, result } }) => {
        const what =
          typeof hook === 'string' ? `hook ${hook}` : typeof set === 'string' ? `set ${set}` : undefined;
        if (what !== undefined && typeof result === 'string') err.write(`evictd: ${what}: ${result}\n`);
      },
      onProgress: (text) => err.write(`evictd: ${text}\n`),
    },
    signal,
  );
}

async function writePage(file: string, result: DrillResult): Promise<void> {
  const { reportPage } = await import('../observe/report-page.ts');
  const { drillVerdict } = await import('./drill-text.ts');
  const { reasons, advice, report } = result;
  const page = reportPage(report, {
    title: 'Drill',
    verdict: drillVerdict(result),
    lines: [...reasons, ...advice],
  });
  try {
    await writeFile(file, page);
  } catch (error) {
    throw new EvictdError('not-written', `${file} can't be written: ${messageOf(error)}`, { cause: error });
  }
}
