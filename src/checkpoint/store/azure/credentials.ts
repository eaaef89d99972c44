import { badCredential as bad, readSecretFile } from '../../../base/files/secret-file.ts';
import { signatureOf } from './signature.ts';
import type { StoreTarget } from './url.ts';

/** As configured under `checkpoint.store.auth`. */
export type StoreAuth =
  /** The VM's identity; `clientId` chooses one where several are assigned. */
  | { readonly kind: 'managed-identity'; readonly clientId?: string }
  /** A file with an Azure connection string, holding an account key or a shared access signature. */
  | { readonly kind: 'connection-string'; readonly file: string }
  /** A file with a shared access signature: the part of the URL after the question mark, or the whole URL. */
  | { readonly kind: 'sas'; readonly file: string }
  /** The emulator's account and key, which everybody knows. */
  | { readonly kind: 'azurite' };

/** What signs the requests. */
export type StoreCredential =
  | { readonly kind: 'identity'; readonly clientId: string | undefined }
  | { readonly kind: 'account-key'; readonly account: string; readonly key: string; readonly place?: string }
  /** Without the question mark. */
  | { readonly kind: 'signature'; readonly query: string; readonly place?: string };

// learn.microsoft.com: Use the Azurite emulator, section "Well-known storage account and key". Not a secret.
const EMULATOR_ACCOUNT = 'devstoreaccount1';
const EMULATOR_KEY =
  'Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==';

/** Source: learn.microsoft.com, Storage account overview, "Storage account name". */
const ACCOUNT_NAME = /^[a-z0-9]{3,24}$/;

/**
 * Reads the credential that the config names and checks that it fits the store.
 * Throws `bad-credential`; messages name the file and never show what is in it.
 */
export async function openCredential(auth: StoreAuth, target: StoreTarget): Promise<StoreCredential> {
  switch (auth.kind) {
    case 'managed-identity':
      if (!target.containerUrl.startsWith('https:')) {
        throw bad(
          'a managed identity needs an https URL',
          'use https, or auth: { kind: azurite } for the emulator',
        );
      }
      return { kind: 'identity', clientId: auth.clientId };
    case 'connection-string':
      return ofConnectionString(await readSecretFile(auth.file), auth.file, target);
    case 'sas':
      return ofSignature(await readSecretFile(auth.file), auth.file, target);
    case 'azurite':
      if (target.account !== EMULATOR_ACCOUNT) {
        throw bad(
          `auth: { kind: azurite } only fits the emulator's account ${EMULATOR_ACCOUNT}, not ${target.account}`,
          'use another kind of auth for a real account',
        );
      }
      return { kind: 'account-key', account: EMULATOR_ACCOUNT, key: EMULATOR_KEY };
  }
}

function ofConnectionString(text: string, file: string, target: StoreTarget): StoreCredential {
  if (/^(?:\??[a-z]{1,5}=|https?:)[^;]*\bsig=/.test(text)) {
    throw bad(`${file} holds a shared access signature`, 'set auth: { kind: sas, file: … } for it');
  }
  // A value can hold = (keys are base64, signatures are queries), a name can't.
  const fields = new Map<string, string>();
  for (const part of text.split(';')) {
    const cut = part.indexOf('=');
    if (cut > 0) fields.set(part.slice(0, cut).trim().toLowerCase(), part.slice(cut + 1).trim());
  }
  if (fields.get('usedevelopmentstorage') === 'true') {
    fields.set('accountname', EMULATOR_ACCOUNT).set('accountkey', EMULATOR_KEY);
  }
  const account = fields.get('accountname');
  if (account !== undefined && account !== target.account) {
    // What is no name isn't shown: it could be the key.
    const named = ACCOUNT_NAME.test(account) ? `the account "${account}"` : 'another account';
    throw bad(
      `the connection string in ${file} is for ${named}, the store's URL names ${target.account}`,
      'use the connection string of the account in checkpoint.store.url',
    );
  }
  const query = fields.get('sharedaccesssignature');
  if (query !== undefined) return ofSignature(query, file, target);
  const key = fields.get('accountkey');
  if (account === undefined || key === undefined || !/^[A-Za-z0-9+/]{20,}={0,2}$/.test(key)) {
    throw bad(
      `${file} holds no usable connection string`,
      'it needs AccountName and AccountKey, or SharedAccessSignature: az storage account show-connection-string',
    );
  }
  return { kind: 'account-key', account, key, place: `AccountKey in ${file}` };
}

function ofSignature(text: string, file: string, target: StoreTarget): StoreCredential {
  const query = signatureOf(text, file, target);
  const place = `the shared access signature in ${file} (it was sent without quotes and URL around it)`;
  return { kind: 'signature', query, place };
}
