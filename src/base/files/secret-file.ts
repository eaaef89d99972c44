import { resolve } from 'node:path';

import { EvictdError, isErrno } from '../errors.ts';
import { openToRead, openTrusted } from './trusted.ts';

const SECRET_BYTES_MAX = 64 * 1024;

/**
 * What a file with a secret holds, without what is around it when it was copied from elsewhere: space, a byte order
 * mark, the quotes of a shell or of JSON, a JSON object of one field, as `az` prints some. Nobody else may have been able
 * to put it there (see `openTrusted`): with another account's credential the data would go to that account.
 * Rejects `bad-credential`; messages name the file and never show what is in it.
 */
export async function readSecretFile(file: string): Promise<string> {
  const text = unwrap(decode(await readBounded(file), file));
  if (ASSIGNMENT.test(text)) {
    throw badCredential(`${file} assigns a variable`, 'leave only the value in it, without name and quotes');
  }
  return text;
}

/** Throws `bad-credential` for what can't be one secret: several lines, a comment after it, a quote at one end. */
export function assertOneWord(text: string, file: string): void {
  if (/[\r\n]/.test(text)) {
    throw badCredential(`${file} holds more than one line`, 'leave only the one with the secret in it');
  }
  if (/\s/.test(text)) {
    throw badCredential(`${file} holds more than one word`, 'leave only the secret in it, without a comment');
  }
  if (/^["'`<([{“‘]|["'`>)\]},;”’]$/.test(text)) {
    throw badCredential(
      `${file} holds quotes, brackets or a comma around the secret`,
      'leave only the secret in it',
    );
  }
  if (/\p{C}/u.test(text)) {
    throw badCredential(`${file} holds a character that can't be seen`, 'write the secret anew by hand');
  }
}

export function badCredential(message: string, remedy: string | undefined, cause?: unknown): EvictdError {
  return new EvictdError('bad-credential', message, { remedy, cause });
}

/** Of a shell, of PowerShell, of a file for systemd or of YAML. Parts of connection strings have no underscore. */
const ASSIGNMENT =
  /^(?:(?:export|set|setx|declare|readonly)\s|\$env:|[A-Za-z]\w*_\w*\s*[=:]|[A-Za-z]\w*\s*[=:]\s*["'])/i;

async function readBounded(file: string): Promise<Buffer> {
  try {
    await using trusted = await openTrusted(resolve(file));
    const { stats } = trusted;
    if (!stats.isFile()) throw badCredential(`${file} is not a file`, 'name the file that holds the secret');
    if (stats.size > SECRET_BYTES_MAX) {
      throw badCredential(`${file} is too large to be a credential`, 'name the file that holds the secret');
    }
    await using handle = await openToRead(trusted);
    return await handle.readFile();
  } catch (error) {
    if (error instanceof EvictdError) throw badCredential(error.message, error.remedy, error);
    if (isErrno(error, 'ENOENT')) {
      throw badCredential(`${file} does not exist`, 'write the credential there', error);
    }
    throw badCredential(`${file} can't be read`, 'check its owner and mode', error);
  }
}

/** UTF-8, or UTF-16 with its mark, as PowerShell's `>` writes. */
function decode(bytes: Buffer, file: string): string {
  const encoding = bytes[0] === 0xff && bytes[1] === 0xfe ? 'utf-16le' : 'utf-8';
  try {
    return new TextDecoder(encoding, { fatal: true }).decode(bytes);
  } catch {
    // Without the cause, which could show bytes of the secret.
    throw badCredential(`${file} is not text`, 'write the secret there as UTF-8');
  }
}

function unwrap(text: string): string {
  const trimmed = text.trim();
  if (/^["{]/.test(trimmed)) return ofJson(trimmed) ?? unquoted(trimmed);
  return unquoted(trimmed);
}

function unquoted(text: string): string {
  return /^(["']).*\1$/s.test(text) && text.length > 1 ? text.slice(1, -1).trim() : text;
}

/** A string, or an object with one field that is one. */
function ofJson(text: string): string | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    // It is in quotes of another kind, and whoever wants the text finds out what is wrong with it.
    return undefined;
  }
  const fields: unknown[] = typeof value === 'object' && value !== null ? Object.values(value) : [value];
  const [only] = fields;
  return fields.length === 1 && typeof only === 'string' ? only.trim() : undefined;
}
