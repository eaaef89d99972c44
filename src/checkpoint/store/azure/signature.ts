import { EvictdError } from '../../../base/errors.ts';
import { assertOneWord, badCredential as bad } from '../../../base/files/secret-file.ts';
import { type StoreTarget, parseStoreUrl } from './url.ts';

/** Values are percent-encoded, but for what tools leave as it is. */
const PAIR = /^([a-z]{1,16})=([\w%.~:,/+=-]*)$/;
const MAKE_ONE = 'az storage container generate-sas';

/**
 * The query of a shared access signature, from the text of a file: the token alone, with the question mark before it,
 * or the whole URL with the token, when that is of the store's account and container.
 * Throws `bad-credential`; messages name the file and never show what is in it.
 */
export function signatureOf(text: string, file: string, target: StoreTarget): string {
  assertOneWord(text, file);
  if (/(?:^|;)(?:AccountName|AccountKey|SharedAccessSignature|BlobEndpoint)=/i.test(text)) {
    throw bad(`${file} holds a connection string`, 'set auth: { kind: connection-string, file: … } for it');
  }
  const query = /^[a-z]+:\/\//i.test(text) ? queryOf(text, file, target) : text.replace(/^\?/, '');
  if (!/sig=./.test(query)) {
    throw bad(`${file} holds no shared access signature`, `it must be sv=…&sp=rwdlc&sig=…: ${MAKE_ONE}`);
  }
  const pairs = query.split('&').map((pair) => PAIR.exec(pair));
  const signatures = pairs.filter((pair) => pair?.[1] === 'sig').map((pair) => pair?.[2]);
  // Only a signature that nobody has encoded has these in its value; elsewhere they come of a name before the token.
  const isBroken = pairs.some((pair) => pair === null || (pair[1] !== 'sig' && pair[2]?.includes('=')));
  if (isBroken || signatures.length !== 1 || signatures[0]?.includes('%25') === true) {
    throw bad(
      `${file} holds a shared access signature with something before, in or after it that is none of it`,
      `leave only sv=…&sp=rwdlc&sig=… in it, encoded once: ${MAKE_ONE}`,
    );
  }
  // Base64 has no spaces, which is what a plus would mean.
  return query.replace(/(?<=(?:^|&)sig=)[^&]+/, (value) => value.replaceAll('+', '%2B'));
}

function queryOf(text: string, file: string, target: StoreTarget): string {
  const url = URL.parse(text);
  const place = url === null ? '' : `${url.origin}${url.pathname.replace(/\/+$/, '')}`;
  // The URL of a signature for the account has no container.
  const named = placeOf(place) ?? placeOf(`${place}/${target.container}`);
  if (named?.account !== target.account || named.container !== target.container || url?.hash !== '') {
    throw bad(
      `the URL in ${file} is not one of ${target.account}/${target.container}`,
      `write the token for that one there, which is what stands after the question mark: ${MAKE_ONE}`,
    );
  }
  return url.search.slice(1);
}

function placeOf(url: string): StoreTarget | undefined {
  try {
    return parseStoreUrl(url);
  } catch (error) {
    if (!(error instanceof EvictdError)) throw error;
    // What is wrong with it could show what it is.
    return undefined;
  }
}
