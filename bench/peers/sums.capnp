# SPDX-License-Identifier: MIT
# The calls of naru bench, for Cap'n Proto.
@0xd6a1c7e35b9f2048;

interface Sums {
  add @0 (a :UInt64, b :UInt64) -> (sum :UInt64);
  stop @1 () -> ();
}
