import * as z from 'zod';

import { plainHttpFault } from './store-url.ts';
import { choice, name, parseHttpUrl, secretFile, text } from './schema-leaf.ts';

const TARGETS = ['webhook', 'storageQueue'] as const;

export const Notification = z
  .strictObject({
    name: name('Name in the log; files of conf.d change a notification by its name.', 'ops'),
    webhook: z
      .strictObject({
        'url-file': secretFile(
          'File that holds the URL, since such a URL is a secret.',
          '/etc/evictd/teams-url',
        ),
        template: choice(['cloudevents', 'slack', 'teams'], 'Shape of the body.').default('cloudevents'),
      })
      .optional()
      .meta({ description: 'Sends an HTTPS request.' }),
    storageQueue: z
      .strictObject({
        url: text({
          description: 'The queue, which has to exist.',
          example: 'https://ACCOUNT.queue.core.windows.net/QUEUE',
          allowed:
            "an http or https URL that ends with the queue's name, without user name, password and query",
          test: isQueueUrl,
          wrong: 'not the URL of a queue',
        }),
      })
      .superRefine(({ url }, context) => {
        const fault = plainHttpFault(url, 'the secrets of checkpoint.store.auth');
        if (fault !== undefined) context.addIssue({ code: 'custom', path: ['url'], ...fault });
      })
      .optional()
      .meta({ description: 'Puts a message into an Azure Storage queue.' }),
  })
  .superRefine((notification, context) => {
    const targets = TARGETS.filter((target) => notification[target] !== undefined);
    if (targets.length === 1) return;
    const message =
      targets.length === 0
        ? 'has none of webhook and storageQueue'
        : 'has webhook and storageQueue, but may have only one of them';
    context.addIssue({ code: 'custom', message, params: { allowed: 'exactly one of them' } });
  })
  .meta({ description: 'Somebody who is told of drains. Exactly one of webhook and storageQueue says how.' });
export type Notification = z.output<typeof Notification>;

/** Without a query: the credential of the checkpoint store signs the requests. */
function isQueueUrl(value: string): boolean {
  const url = parseHttpUrl(value);
  return url !== undefined && url.search === '' && url.hash === '' && !url.pathname.endsWith('/');
}
