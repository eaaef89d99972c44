import { json, type MockAnswer, plain, refusal } from './answer.ts';
import type { Scenario } from './schema.ts';

/** Of the instance endpoint: another list than that of Scheduled Events. Oldest first, not all of them. */
const INSTANCE_API_VERSIONS = [
  '2017-04-02',
  '2017-08-01',
  '2017-12-01',
  '2018-02-01',
  '2018-10-01',
  '2019-03-11',
  '2019-06-01',
  '2019-06-04',
  '2019-11-01',
  '2020-06-01',
  '2020-09-01',
  '2020-12-01',
  '2021-01-01',
  '2021-02-01',
  '2021-05-01',
  '2021-12-13',
  '2023-07-01',
  '2025-04-07',
];

const FIELD_SINCE: Readonly<Record<string, string>> = {
  tags: '2017-08-01',
  tagsList: '2019-06-04',
  vmScaleSetName: '2017-12-01',
  zone: '2017-12-01',
  priority: '2020-12-01',
  evictionPolicy: '2020-12-01',
};

/**
 * Answers /metadata/instance and what is below it.
 * Source: learn.microsoft.com/azure/virtual-machines/instance-metadata-service
 */
export function answerInstance(vm: Scenario['vm'], url: URL): MockAnswer {
  const version = url.searchParams.get('api-version') ?? '';
  if (!INSTANCE_API_VERSIONS.includes(version)) {
    return refusal(400, 'Bad request. api-version is invalid or was not specified in the request.', {
      'newest-versions': INSTANCE_API_VERSIONS.slice(-3).toReversed(),
    });
  }
  const parts = url.pathname.split('/').filter((part) => part !== '');
  let node: unknown = { compute: computeOf(vm, version), network: { interface: [] } };
  for (const part of parts.slice(2)) {
    if (typeof node !== 'object' || node === null || !Object.hasOwn(node, part)) {
      return refusal(404, `Not found: ${part}`);
    }
    node = Reflect.get(node, part);
  }
  const format = url.searchParams.get('format') ?? 'json';
  const leaf = typeof node !== 'object';
  if (leaf && format === 'text') return plain(200, String(node));
  if (!leaf && format === 'json') return json(200, node);
  return refusal(
    400,
    leaf ? 'Bad request. A leaf needs format=text.' : `Bad request. Format ${format} is for leaves.`,
  );
}

function computeOf(vm: Scenario['vm'], version: string): Record<string, unknown> {
  const tags = Object.entries(vm.tags);
  const fields: Record<string, unknown> = {
    name: vm.name,
    vmId: vm.vmId,
    location: vm.location,
    vmScaleSetName: vm.scaleSet,
    zone: vm.zone,
    tags: tags.map(([name, value]) => `${name}:${value}`).join(';'),
    tagsList: tags.map(([name, value]) => ({ name, value })),
    priority: vm.priority,
    evictionPolicy: vm.evictionPolicy,
    osType: 'Linux',
  };
  return Object.fromEntries(
    Object.entries(fields).filter(([name]) => {
      const since = Object.hasOwn(FIELD_SINCE, name) ? FIELD_SINCE[name] : undefined;
      return since === undefined || since <= version;
    }),
  );
}
