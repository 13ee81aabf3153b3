// A Verilated tidegate (harness.py) behind a pseudo-terminal (terminal.h).
//
//     board [--trace FILE] [--waveform FILE]
//
// FILEs: see simulation.h.

#include "simulation.h"
#include "terminal.h"

namespace {

class Device : public Simulation {
public:
    using Simulation::Simulation;
    static constexpr int BYTE_CYCLES = 0;
    bool rx_taken = false;
    int tx_byte = -1;

    void cycle(int rx_byte) {
        top.rx_valid = rx_byte >= 0;
        top.rx_byte = static_cast<uint8_t>(rx_byte);
        rx_taken = top.rx_valid && top.rx_take;
        tx_byte = top.tx_valid ? top.tx_byte : -1;
        edge();
    }
};

}  // namespace

int main(int argc, char** argv) {
    const Files files(argc, argv);
    return serve([&] { return Device(files); });
}
