// The Verilated netlist of a core with its link (netlist.py, CoreTop) behind a pseudo-terminal (terminal.h).

#include "Vtop.h"
#include "terminal.h"
#include "verilated.h"

namespace {

class Device {
public:
    static constexpr int BYTE_CYCLES = 0;
    bool rx_taken = false;
    int tx_byte = -1;
    uint64_t cycles = 0;

    Device() {
        top.clk = 0;
        top.eval();
    }

    ~Device() { top.final(); }

    void cycle(int rx_byte) {
        top.rx_valid = rx_byte >= 0;
        top.rx_byte = static_cast<uint8_t>(rx_byte);
        rx_taken = top.rx_valid && top.rx_take;
        tx_byte = top.tx_valid ? top.tx_byte : -1;
        top.clk = 1;
        top.eval();
        top.clk = 0;
        top.eval();
        cycles++;
    }

    void flush() {}

private:
    Vtop top;
};

}  // namespace

int main() { return serve([] { return Device(); }); }
