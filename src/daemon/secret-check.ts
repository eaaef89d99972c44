import { EvictdError, isErrno } from '../base/errors.ts';
import { openCredential } from '../checkpoint/store/azure/credentials.ts';
import { parseStoreUrl } from '../checkpoint/store/azure/url.ts';
import { missingSecrets } from '../config/secret-files.ts';
import type { Config } from '../config/schema.ts';
import { readWebhookUrl } from '../observe/webhook.ts';

/**
 * One sentence for each file with a secret that is missing here, or holds what is none. Files that may not be read are
 * left out: whoever checks a configuration is not always root.
 */
export async function secretFaults(config: Config): Promise<readonly string[]> {
  const { checkpoint, notify } = config;
  const faults = [...missingSecrets(config)];
  const look = async (key: string, check: Promise<unknown>) => {
    try {
      await check;
    } catch (error) {
      if (!(error instanceof EvictdError)) throw error;
      if (isErrno(error.cause, 'ENOENT', 'ENOTDIR', 'EACCES', 'EPERM')) return;
      faults.push(`${key}: ${error.message}; ${error.remedy}`);
    }
  };
  const auth = checkpoint?.store.auth;
  if (checkpoint !== undefined && auth !== undefined && 'file' in auth) {
    await look('checkpoint.store.auth.file', openCredential(auth, parseStoreUrl(checkpoint.store.url)));
  }
  for (const { name, webhook } of notify) {
    if (webhook !== undefined) await look(`notify "${name}", url-file`, readWebhookUrl(webhook['url-file']));
  }
  return faults;
}
