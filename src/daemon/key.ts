import { EvictdError } from '../base/errors.ts';
import type { Instance } from '../imds/instance.ts';

/** What a key template may ask for. */
export type KeyFacts = Pick<Instance, 'name' | 'vmId' | 'scaleSet' | 'tags'>;

const PLACEHOLDER = /\{([^}]*)\}/g;

/** Does the template need the instance document? A name that is known without it stands for `{vmName}`. */
export function needsInstance(template: string, vmName: string | undefined): boolean {
  return [...template.matchAll(PLACEHOLDER)].some(([, name]) => name !== 'vmName' || vmName === undefined);
}

/**
 * The key that a template stands for on this VM.
 * Throws `key-unknown` when the instance document has nothing for a placeholder, `bad-key` when its value can't be
 * part of a blob name: a tag could otherwise point the VM at another one's checkpoints.
 */
export function expandKey(template: string, facts: KeyFacts): string {
  return template.replaceAll(PLACEHOLDER, (_, placeholder: string) => {
    const value = factOf(placeholder, facts);
    if (value === undefined || value === '') {
      throw new EvictdError('key-unknown', `checkpoint.key: this VM has no ${placeholder}`, {
        remedy: placeholder.startsWith('tag:')
          ? `set the tag ${placeholder.slice('tag:'.length)} on the VM, or use another key`
          : 'use another placeholder; {vmName} and {vmId} are always there',
      });
    }
    if (!/^[A-Za-z0-9._-]{1,200}$/.test(value) || /^\.+$/.test(value)) {
      throw new EvictdError(
        'bad-key',
        `checkpoint.key: {${placeholder}} is ${JSON.stringify(value.slice(0, 100))} on this VM`,
        { remedy: 'its value may have letters, digits, ".", "_" and "-" only' },
      );
    }
    return value;
  });
}

function factOf(placeholder: string, facts: KeyFacts): string | undefined {
  if (placeholder === 'vmName') return facts.name;
  if (placeholder === 'vmId') return facts.vmId;
  if (placeholder === 'scaleSet') return facts.scaleSet;
  const tag = placeholder.startsWith('tag:') ? placeholder.slice('tag:'.length).toLowerCase() : undefined;
  // Names of Azure tags are case-insensitive.
  return Object.entries(facts.tags).find(([name]) => name.toLowerCase() === tag)?.[1];
}
