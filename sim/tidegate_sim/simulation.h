// A Verilated design, one clock cycle at a time, with its cells' trace and a waveform.
//
// Trace: a record for each cycle with trace__valid, little-endian: layer u16, group u16, then STAGES times CELL_RATE
// i16, the integers of the layer's cell stage by stage.  Waveform: VCD (in a build with --trace).

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "Vtop.h"
#include "fail.h"
#include "verilated.h"
#if VM_TRACE
#include "verilated_vcd_c.h"
#endif

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "ports and records are copied as they are");

// Verilator writes the second underscore of trace__valid as its hexadecimal code.
#define TRACE(member) trace___05F##member

// Names of the files that the command line asks for, or null.
struct Files {
    const char *trace = nullptr, *waveform = nullptr;

    Files(int argc, char** argv) {
        for (int k = 1; k < argc; k++) {
            const char** value = !strcmp(argv[k], "--trace") ? &trace : !strcmp(argv[k], "--waveform") ? &waveform : nullptr;
            if (!value || ++k == argc) {
                fprintf(stderr, "usage: %s [--trace FILE] [--waveform FILE]\n", argv[0]);
                exit(2);
            }
            *value = argv[k];
        }
    }
};

class Simulation {
public:
    Vtop top;
    uint64_t cycles = 0;

    explicit Simulation(const Files& files) {
        if (files.trace) {
            trace = fopen(files.trace, "wb");
            if (!trace) fail(files.trace);
        }
        if (files.waveform) open_waveform(files.waveform);
        top.eval();
    }

    ~Simulation() {
        top.final();
#if VM_TRACE
        if (waveform.isOpen()) waveform.close();
#endif
        if (trace && fclose(trace)) fail("trace");
    }

    // The rest of a clock cycle: inputs are set, outputs were read.
    void edge() {
        if (trace && top.TRACE(valid)) record();
        const bool core_active = top.core_active, cell_active = core_active && top.cell_active;
        top.clk = 1;
        top.core_clk = core_active;
        top.cell_clk = cell_active;
        top.eval();
        dump();
        top.clk = top.core_clk = top.cell_clk = 0;
        top.eval();
        dump();
        cycles++;
    }

    void flush() {
        if (trace) fflush(trace);
    }

private:
    static constexpr size_t BYTES = 2 * CELL_RATE * STAGES;
    FILE* trace = nullptr;

    void record() {
        uint8_t bytes[4 + BYTES];
        const uint16_t head[2] = {static_cast<uint16_t>(top.TRACE(layer)), static_cast<uint16_t>(top.TRACE(group))};
        memcpy(bytes, head, 4);
        memcpy(bytes + 4, &top.TRACE(stages), BYTES);
        if (fwrite(bytes, sizeof bytes, 1, trace) != 1) fail("trace");
    }

#if VM_TRACE
    VerilatedVcdC waveform;
    uint64_t half_cycles = 0;

    void open_waveform(const char* file) {
        Verilated::traceEverOn(true);
        top.trace(&waveform, 99);
        waveform.open(file);
        if (!waveform.isOpen()) fail(file);
    }
    void dump() {
        if (waveform.isOpen()) waveform.dump(half_cycles++);
    }
#else
    void open_waveform(const char*) {
        fprintf(stderr, "this build writes no waveform\n");
        exit(1);
    }
    void dump() {}
#endif
};
