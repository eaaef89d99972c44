/** In place of `src/observe/webhook.ts`: receivers in the simulated world. */
import type { Teller } from '../../../src/observe/webhook.ts';
import { runningProcess } from '../guest.ts';

export function createWebhook({ urlFile }: { readonly urlFile: string }): Teller {
  const process = runningProcess();
  return (news, signal) => process.doors.tell(process, urlFile, news, signal);
}
