import { abandonOn, boundedSignal } from '../base/abort.ts';
import { scenarioOf } from '../mock/scenario.ts';
import { startMockImds } from '../mock/server.ts';
import type { DrainReport } from '../observe/drain-report.ts';
import { type RehearsalDependencies, type RehearsalOptions, type Resumed, openStage } from './drill-stage.ts';
import { isRealNotice } from './real-notice.ts';

export interface Rehearsal {
  /** As it stood when the drain was over, or the window. */
  readonly report: DrainReport;
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
    const bytesPerSecond = engine?.port.estimate().bytesPerSecond;
    const bytesSent = new Map(engine?.port.progress().map((set) => [set.name, set.bytesSent]));
    return { report, bytesPerSecond, bytesSent, resumed: await undo() };
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

async function startMock({ vmName }: RehearsalOptions, { clock }: RehearsalDependencies) {
  const scenario = scenarioOf({ vm: { name: vmName }, service: { rateLimit: 0, startAfterAck: '1h' } });
  const mock = await startMockImds({ host: '127.0.0.1', port: 0, scenario }, { clock });
  return { ...mock, [Symbol.asyncDispose]: () => mock.close() };
}
