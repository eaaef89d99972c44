import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import type { BundledPackage } from './bundled-packages.ts';
import type { Program } from './install-tree.ts';
import type { PackageOptions } from './package.ts';

/**
 * Writes `evictd_VERSION_ARCH.cdx.json`: what the packages of one architecture consist of, as CycloneDX 1.5.
 * Without a time and a serial number, which that format makes optional, so that it is the same for the same code.
 */
export async function softwareBill(
  { packages, node }: Program,
  { version, architecture, out }: PackageOptions,
): Promise<string> {
  const self = `pkg:generic/evictd@${version}?arch=${architecture.debian}`;
  const components = [
    component({ name: node.name, version: node.version, licence: 'MIT', integrity: node.integrity }),
    ...packages.map(component),
  ];
  const bill = {
    $schema: 'http://cyclonedx.org/schema/bom-1.5.schema.json',
    bomFormat: 'CycloneDX',
    specVersion: '1.5',
    version: 1,
    metadata: {
      component: { type: 'application', 'bom-ref': self, name: 'evictd', version, licenses: licences('MIT') },
    },
    components,
    dependencies: [{ ref: self, dependsOn: components.map((one) => one['bom-ref']) }],
  };
  const file = join(out, `evictd_${version}_${architecture.debian}.cdx.json`);
  await writeFile(file, `${JSON.stringify(bill, null, 2)}\n`);
  return file;
}

function component({
  name,
  version,
  licence,
  integrity,
}: Pick<BundledPackage, 'name' | 'version' | 'licence' | 'integrity'>) {
  // As the package URL specification writes a scope.
  const purl = `pkg:npm/${name.replace('@', '%40')}@${version}`;
  const [algorithm, hash = ''] = integrity.split('-');
  if (algorithm !== 'sha512') throw new Error(`${name}: the lockfile has ${integrity}, not a sha512`);
  const content = Buffer.from(hash, 'base64').toString('hex');
  return {
    type: 'library',
    'bom-ref': purl,
    name,
    version,
    purl,
    licenses: licences(licence),
    hashes: [{ alg: 'SHA-512', content }],
  };
}

function licences(expression: string) {
  return /^[\w.+-]+$/.test(expression) ? [{ license: { id: expression } }] : [{ expression }];
}
