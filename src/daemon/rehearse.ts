import { abandonOn, boundedSignal } from '../base/abort.ts';
import { scenarioOf } from '../mock/scenario.ts';
import { startMockImds } from '../mock/server.ts';
import type { DrainReport } from '../observe/drain-report.ts';
import {
  type RehearsalDependencies,
  type RehearsalOptions,
  type Resumed,
  type Stage,
  openStage,
} from './drill-stage.ts';
import { isRealNotice } from './real-notice.ts';

export interface Rehearsal {
  /** As it stood when the drain was over, or the window. */
  readonly report: DrainReport;
  /** As it stood when every set was committed, which may be later, or when that was given up. */
  readonly late: DrainReport;
  /** Of the upload, as measured; undefined when nothing was sent. */
  readonly bytesPerSecond: number | undefined;
  /** By set name. */
  readonly bytesSent: ReadonlyMap<string, number>;
  readonly resumed: readonly Resumed[];
}

/** Beyond the window and the hooks' own limits: for the ends of what is cut short. */
const GRACE_MS = 30_000;

/**
 * One drain by the real loop, executors and hooks, on a mock metadata service; then the event is withdrawn, and the
 * drain undone as ever. Rejects with the signal's reason: what ran is ended then, and the `on-resume` hooks run, unless
 * the reason is a real notice.
 */
export async function rehearse(
  options: RehearsalOptions,
  dependencies: RehearsalDependencies,
  signal: AbortSignal,
): Promise<Rehearsal> {
  const { clock, engine } = dependencies;
  await using mock = await startMock(options, dependencies);
  await using stage = await openStage(options, dependencies, mock.url);
  mock.addEvent({ type: 'Preempt', notBefore: `${Math.ceil(options.windowMs)}ms`, autoStart: false });
  try {
    using bound = boundedSignal(clock, options.windowMs + GRACE_MS, signal);
    const report = await abandonOn(bound.signal, stage.drained);
    const bytesSent = new Map(engine?.port.progress().map((set) => [set.name, set.bytesSent]));
    const late = await lateReport(stage, report, dependencies, signal);
    const bytesPerSecond = engine?.port.estimate().bytesPerSecond;
    return { report, late, bytesPerSecond, bytesSent, resumed: await undo() };
  } catch (error) {
    if (signal.aborted && !isRealNotice(signal)) await undo();
    throw error;
  }

  async function undo(): Promise<readonly Resumed[]> {
    const { drain } = stage.loop.state();
    if (drain === undefined) return [];
    dependencies.onProgress('undoing the drill: on-resume hooks');
    for (const { id } of mock.state().events) mock.withdraw(id);
    await stage.poller.stop();
    const resumeMs = drain.hooks.reduce(
      (sum, { stage: at, timeoutMs }) => sum + (at === 'on-resume' ? timeoutMs : 0),
      0,
    );
    using bound = boundedSignal(clock, resumeMs + GRACE_MS);
    // Gone is what two documents lack.
    for (let documents = 0; documents < 2; documents++) {
      stage.loop.send({ kind: 'document', document: await stage.ask(bound.signal) });
    }
    return await abandonOn(bound.signal, stage.undone);
  }
}

/** How long to go on after the window, to find out how long a set really takes; then its rate is well known. */
const LATE_MS = 60_000;

async function lateReport(
  stage: Stage,
  report: DrainReport,
  { clock, onProgress }: RehearsalDependencies,
  signal: AbortSignal,
): Promise<DrainReport> {
  if (report.outcome === 'success') return report;
  using bound = boundedSignal(clock, LATE_MS, signal);
  try {
    onProgress('the window is over; going on for up to a minute to see how long it takes');
    return await abandonOn(bound.signal, stage.settled);
  } catch (error) {
    if (signal.aborted || !bound.signal.aborted) throw error;
    return stage.reportNow() ?? report;
  }
}

async function startMock({ vmName }: RehearsalOptions, { clock }: RehearsalDependencies) {
  const scenario = scenarioOf({ vm: { name: vmName }, service: { rateLimit: 0, startAfterAck: '1h' } });
  const mock = await startMockImds({ host: '127.0.0.1', port: 0, scenario }, { clock });
  return { ...mock, [Symbol.asyncDispose]: () => mock.close() };
}
