import { expect, test } from 'vitest';
import { z } from 'zod';

import { CONTROL_EXAMPLES, mockManual, SCENARIO_EXAMPLE } from '../../src/mock/manual.ts';
import { parseScenario } from '../../src/mock/scenario.ts';
import { EventSpec, FaultSpec, Scenario } from '../../src/mock/schema.ts';
import { startTestImds } from '../support/mock-imds.ts';
import { ask } from './support.ts';

const Node = z.looseObject({
  properties: z.record(z.string(), z.unknown()).default({}),
  enum: z.array(z.string()).default([]),
  const: z.string().optional(),
});

/** Every key and every chosen value of a schema. */
function wordsOf(schema: z.ZodType): Set<string> {
  const words = new Set<string>();
  const visit = (value: unknown): void => {
    if (typeof value !== 'object' || value === null) return;
    const node = Node.safeParse(value).data;
    for (const word of Object.keys(node?.properties ?? {})) words.add(word);
    for (const word of [...(node?.enum ?? []), node?.const ?? '']) if (word !== '') words.add(word);
    for (const child of Object.values(value)) visit(child);
  };
  visit(z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' }));
  return words;
}

test.each([
  ['scenarios', Scenario],
  ['events', EventSpec],
  ['faults', FaultSpec],
])('names every key and every choice of %s', (_, schema) => {
  const manual = mockManual('http://127.0.0.1:1338');
  const words = wordsOf(schema);
  expect(words.size).toBeGreaterThan(9);
  const missing = [...words].filter((word) => !new RegExp(`(?<![\\w-])${word}(?![\\w-])`).test(manual));
  expect(missing).toEqual([]);
});

test('shows a scenario that is one', () => {
  expect(parseScenario(SCENARIO_EXAMPLE, 'example').timeline).toHaveLength(5);
});

test('shows requests that the mock understands', async () => {
  await using mock = await startTestImds();
  for (const [method, path, body] of CONTROL_EXAMPLES) {
    const { status, text } = await ask(mock.url, path, { method, body, metadata: false });
    expect([200, 201], `${method} ${path} ${body}: ${text}`).toContain(status);
  }
  expect(mock.state()).toMatchObject({ events: [{ type: 'Preempt' }], faults: [] });
});
