/* SPDX-License-Identifier: MIT */
/* add-local.c - what add.c does over there, here: the call that a service replaces. */
#include <stdio.h>

/* snippet */
static int add(int a, int b)
{
    return a + b;
}

int main(void)
{
    printf("2 + 3 = %d\n", add(2, 3));
    return add(2, 3) == 5 ? 0 : 1;
}
/* end */
