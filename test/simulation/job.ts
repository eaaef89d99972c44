// One of the processes of `npm run soak`: started with its plan, it sends what came of it.
import { live, type LivesPlan } from './lives.ts';

// Of soak.ts, in this same folder. JSON has no Infinity.
const { lives, minutes, ...plan } = JSON.parse(process.argv[2] ?? '') as LivesPlan;
const result = await live({ ...plan, lives: lives ?? Infinity, minutes: minutes ?? Infinity });
process.send?.(result);
process.disconnect?.();
