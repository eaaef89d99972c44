import { describePackageLife } from './package-life.ts';

describePackageLife('bookworm');
