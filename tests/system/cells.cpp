// Random inputs for module bench (test_netlist.py): prints how often each bit of its output ``differs`` was 1.
//
// With an argument, memories are always read where they are written.

#include <stdio.h>

#include <random>

#include "Vtop.h"

int main(int argc, char**) {
    const bool collisions = argc > 1;
    Vtop top;
    std::mt19937_64 random(1);
    long count[FIELDS] = {};
    for (int k = 0; k < CYCLES; k++) {
        top.wa = random() & 0x3FFF;
        top.ra = random() & 0x3FFF;
        if (collisions) top.ra = top.wa;
        else if (!((top.wa ^ top.ra) & 0xF)) top.ra = top.ra ^ 1;
        top.we = collisions || random() & 1;
        top.re = collisions || random() & 3;
        top.rst = !collisions && !(random() & 7);
        top.be = collisions ? 15 : random() & 15;
        top.d = random() & 0xFFFFFFFFF;
        top.e = random() & 0xFFFFFFFFF;
        top.clk = 0;
        top.eval();
        top.clk = 1;
        top.eval();
        for (int f = 0; f < FIELDS; f++) count[f] += top.differs >> f & 1;
    }
    for (long n : count) printf("%ld ", n);
}
