// A board's Verilated netlist (netlist.py), from pin to pin, behind a pseudo-terminal (terminal.h).
//
// CLOCK, RX, TX: names of the top level's pins.  DIVISOR: clock cycles of a bit, as the board's UART has it.

#include "Vtop.h"
#include "terminal.h"
#include "verilated.h"

namespace {

class Device {
public:
    static constexpr int BYTE_CYCLES = 10 * DIVISOR;
    bool rx_taken = false;
    int tx_byte = -1;
    uint64_t cycles = 0;

    Device() {
        top.RX = 1;
        top.CLOCK = 0;
        top.eval();
    }

    ~Device() { top.final(); }

    void cycle(int rx_byte) {
        rx_taken = send(rx_byte);
        top.CLOCK = 1;
        top.eval();
        top.CLOCK = 0;
        top.eval();
        tx_byte = receive();
        cycles++;
    }

    void flush() {}

private:
    Vtop top;
    unsigned frame = 0;         // bits still to send, from the lowest: start, 8 data, stop
    int sent = BYTE_CYCLES;     // cycles of the byte that is sent
    int heard = -1;             // cycles since the line fell, or -1
    unsigned bits = 0;

    bool send(int rx_byte) {
        bool taken = false;
        if (sent == BYTE_CYCLES && rx_byte >= 0) {
            frame = static_cast<unsigned>(rx_byte) << 1 | 1u << 9;
            sent = 0;
            taken = true;
        }
        top.RX = sent < BYTE_CYCLES ? frame >> sent / DIVISOR & 1 : 1;
        if (sent < BYTE_CYCLES) sent++;
        return taken;
    }

    int receive() {
        if (heard < 0) {
            if (top.TX) return -1;
            heard = 0;
            bits = 0;
        }
        // each bit in its middle
        if (heard % DIVISOR == DIVISOR / 2) bits |= static_cast<unsigned>(top.TX) << heard / DIVISOR;
        if (heard++ < 9 * DIVISOR + DIVISOR / 2) return -1;
        heard = -1;
        return bits >> 1 & 0xFF;
    }
};

}  // namespace

int main() { return serve([] { return Device(); }); }
