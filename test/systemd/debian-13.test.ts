import { describePackageLife } from './package-life.ts';

describePackageLife('trixie');
