import { expect, test } from 'vitest';

import { parseServerTime } from '../../src/imds/server-time.ts';

const TIME = Date.UTC(2022, 7, 9, 17, 7, 32);

test.each([
  ['RFC 1123', 'Tue, 09 Aug 2022 17:07:32 GMT'],
  ['a wrong weekday', 'Fri, 09 Aug 2022 17:07:32 GMT'],
  ['no weekday and one digit', '9 Aug 2022 17:07:32 GMT'],
  ['ISO 8601', '2022-08-09T17:07:32Z'],
  ['ISO 8601 with fractions', '2022-08-09T17:07:32.000000Z'],
  ['ISO 8601 without a zone', '2022-08-09T17:07:32'],
  ['ISO 8601 with an offset', '2022-08-09T19:37:32+02:30'],
  ['blanks around', ' Tue, 09 Aug 2022 17:07:32 GMT '],
])('reads %s', (_name, text) => {
  expect(parseServerTime(text)).toBe(TIME);
});

test.each([
  ['an empty text', ''],
  ['nothing', undefined],
  ['null', null],
  ['a number', 1_660_064_852],
  ['words', 'soon'],
  ['31 February', 'Mon, 31 Feb 2022 17:07:32 GMT'],
  ['hour 25', '2022-08-09T25:07:32Z'],
  ['an unknown month', 'Tue, 09 Foo 2022 17:07:32 GMT'],
  ['a local zone', 'Tue, 09 Aug 2022 17:07:32 PST'],
])('takes %s for no time at all', (_name, value) => {
  expect(parseServerTime(value)).toBeUndefined();
});
