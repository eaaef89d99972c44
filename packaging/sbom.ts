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
    ...insideNode(node.version),
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

/**
 * Node itself, and the part of it that has advisories of its own, by the names that those are published under: no
 * scanner knows what the npm package holds.
 */
function insideNode(version: string) {
  const { node, openssl } = process.versions;
  if (node !== version)
    throw new Error(
      `this is Node ${node}, but what is packaged is ${version}: build with the project's Node`,
    );
  const known = (name: string, own: string, product: string, licence: string) => ({
    type: 'library',
    'bom-ref': `pkg:generic/${name}@${own}`,
    name,
    version: own,
    cpe: `cpe:2.3:a:${product}:${own}:*:*:*:*:*:*:*`,
    purl: `pkg:generic/${name}@${own}`,
    licenses: licences(licence),
  });
  return [
    known('node', node, 'nodejs:node.js', 'MIT'),
    known('openssl', openssl, 'openssl:openssl', 'Apache-2.0'),
  ];
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
