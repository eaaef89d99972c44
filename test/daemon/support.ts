import type { MockImds } from '../../src/mock/server.ts';

/** The bound of every wait for the mock. */
export function soon(): AbortSignal {
  return AbortSignal.timeout(45_000);
}

/** Resolves once this many further polls were answered with a document. */
export async function polls(imds: MockImds, count: number): Promise<void> {
  const answered = () =>
    imds.requests().filter(({ path, status }) => path.includes('scheduledevents') && status === 200).length;
  const goal = answered() + count;
  await imds.waitFor(() => answered() >= goal, soon());
}

/** The config of one hook named `stop`. */
export function stopHook(program: string, more = ''): string {
  return `hooks: [{ name: stop, run: [${program}]${more} }]\n`;
}
