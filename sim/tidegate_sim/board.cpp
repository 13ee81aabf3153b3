// A Verilated tidegate (harness.py) behind a pseudo-terminal.
//
//     board [--trace FILE] [--waveform FILE]
//
// Prints one JSON line with the terminal to open, {"port": "/dev/pts/N"}, then moves bytes between it and the
// design, until stdin closes or SIGTERM comes; then prints {"cycles": N, "seconds": S},
// the clock cycles simulated and the time that took.  Simulated time stands still while there is nothing to do.
//
// FILE of --trace: a record for each cycle with trace__valid, little-endian: layer u16, group u16, then
// r_arg, z_arg, nx, nh, h, each CELL_RATE times i16.  FILE of --waveform: VCD (in a build with --trace).

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <unistd.h>

#include <chrono>
#include <string>

#include "Vtop.h"
#include "verilated.h"
#if VM_TRACE
#include "verilated_vcd_c.h"
#endif

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "trace records are copied as they are");

// Verilator writes the second underscore of trace__valid as its hexadecimal code.
#define TRACE(member) trace___05F##member

namespace {

constexpr int BATCH = 4096;             // cycles between looks at the terminal
constexpr int SETTLED = 64;             // cycles without an output byte that end an answer
constexpr long SILENCE = 1L << 24;      // cycles after which nothing more is expected: longer than any watchdog
constexpr size_t VECTOR = 2 * CELL_RATE;

[[noreturn]] void fail(const char* what) {
    perror(what);
    exit(1);
}

// The design, one clock cycle at a time.
class Simulation {
public:
    uint64_t cycles = 0;

    Simulation(const char* trace_file, const char* waveform_file) {
        if (trace_file) {
            trace = fopen(trace_file, "wb");
            if (!trace) fail(trace_file);
        }
        if (waveform_file) open_waveform(waveform_file);
        top.eval();
    }

    ~Simulation() {
        top.final();
#if VM_TRACE
        if (waveform.isOpen()) waveform.close();
#endif
        if (trace) fclose(trace);
    }

    // One clock cycle, in which a byte (or -1: none) is offered; rx_taken and tx_byte tell what moved.
    void cycle(int rx_byte) {
        top.rx_valid = rx_byte >= 0;
        top.rx_byte = static_cast<uint8_t>(rx_byte);
        rx_taken = top.rx_valid && top.rx_take;
        tx_byte = top.tx_valid ? top.tx_byte : -1;
        if (trace && top.TRACE(valid)) record();
        top.clk = 1;
        top.core_clk = top.core_active;
        top.eval();
        dump();
        top.clk = top.core_clk = 0;
        top.eval();
        dump();
        cycles++;
    }

    void flush() {
        if (trace) fflush(trace);
    }

    bool rx_taken = false;
    int tx_byte = -1;

private:
    Vtop top;
    FILE* trace = nullptr;

    void record() {
        uint8_t bytes[4 + 5 * VECTOR];
        const uint16_t head[2] = {static_cast<uint16_t>(top.TRACE(layer)), static_cast<uint16_t>(top.TRACE(group))};
        memcpy(bytes, head, 4);
        memcpy(bytes + 4, &top.TRACE(r_arg), VECTOR);
        memcpy(bytes + 4 + VECTOR, &top.TRACE(z_arg), VECTOR);
        memcpy(bytes + 4 + 2 * VECTOR, &top.TRACE(nx), VECTOR);
        memcpy(bytes + 4 + 3 * VECTOR, &top.TRACE(nh), VECTOR);
        memcpy(bytes + 4 + 4 * VECTOR, &top.TRACE(h), VECTOR);
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

// The master side of a raw pseudo-terminal.  The slave is held open too: users may come and go.
class Terminal {
public:
    int fd;
    std::string name;

    Terminal() {
        fd = posix_openpt(O_RDWR | O_NOCTTY);
        if (fd < 0 || grantpt(fd) || unlockpt(fd)) fail("pseudo-terminal");
        name = ptsname(fd);
        slave = open(name.c_str(), O_RDWR | O_NOCTTY);
        termios settings;
        if (slave < 0 || tcgetattr(slave, &settings)) fail(name.c_str());
        cfmakeraw(&settings);
        if (tcsetattr(slave, TCSANOW, &settings) || fcntl(fd, F_SETFL, O_NONBLOCK)) fail(name.c_str());
    }

    // Read what is there, into an empty buffer.
    void receive(std::string& buffer) {
        char bytes[4096];
        const ssize_t n = read(fd, bytes, sizeof bytes);
        if (n > 0) buffer.assign(bytes, n);
    }

    // Write what is accepted and keep the rest.
    void send(std::string& buffer) {
        const ssize_t n = write(fd, buffer.data(), buffer.size());
        if (n > 0) buffer.erase(0, n);
    }

private:
    int slave;
};

// Counts packets (zero-terminated, not empty) in a byte stream.
class PacketCounter {
public:
    long count = 0;

    void byte(int b) {
        if (b == 0 && inside) count++;
        inside = b != 0;
    }

private:
    bool inside = false;
};

// Moves bytes between terminal and design.
class Board {
public:
    Board(Simulation& s, Terminal& t) : simulation(s), terminal(t) {}
    double seconds = 0;

    // Until stdin is closed or ``terminated`` (a signalfd) tells of SIGTERM.
    void run(int terminated) {
        pollfd fds[] = {{terminal.fd, 0, 0}, {0, POLLIN, 0}, {terminated, POLLIN, 0}};
        for (;;) {
            const bool blocked = !output.empty();       // nobody reads: look again now and then
            fds[0].events = (position == input.size() ? POLLIN : 0) | (blocked ? POLLOUT : 0);
            if (poll(fds, 3, blocked ? 20 : busy() ? 0 : -1) < 0) continue;
            char ignored[64];
            if (fds[1].revents && read(0, ignored, sizeof ignored) <= 0) return;
            if (fds[2].revents) return;
            if (fds[0].revents & POLLIN) {
                terminal.receive(input);
                position = 0;
                quiet = 0;
            }
            if (!blocked) simulate();
            simulation.flush();
            if (!output.empty()) terminal.send(output);
        }
    }

private:
    Simulation& simulation;
    Terminal& terminal;
    std::string input, output;
    size_t position = 0;                // of the next byte in input
    long quiet = SILENCE;               // cycles since a byte moved
    PacketCounter asked, answered;

    // An unanswered packet is under way, or an answer is not over.
    bool busy() const {
        return position < input.size() || quiet < SETTLED || (asked.count > answered.count && quiet < SILENCE);
    }

    // Up to a batch of cycles; ends early when an answer is over, or all input is taken and there may be more.
    void simulate() {
        const auto begin = std::chrono::steady_clock::now();
        for (int k = 0; k < BATCH && busy(); k++) {
            simulation.cycle(position < input.size() ? static_cast<uint8_t>(input[position]) : -1);
            quiet++;
            if (simulation.tx_byte >= 0) {
                output += static_cast<char>(simulation.tx_byte);
                answered.byte(simulation.tx_byte);
                quiet = 0;
            }
            if (simulation.rx_taken) {
                asked.byte(input[position++]);
                quiet = 0;
                if (position == input.size()) break;
            }
            if (!output.empty() && quiet == SETTLED) break;
        }
        if (quiet >= SILENCE) asked.count = answered.count;
        seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    }
};

}  // namespace

int main(int argc, char** argv) {
    const char *trace = nullptr, *waveform = nullptr;
    for (int k = 1; k < argc; k++) {
        const std::string option = argv[k];
        const char** value = option == "--trace" ? &trace : option == "--waveform" ? &waveform : nullptr;
        if (!value || ++k == argc) {
            fprintf(stderr, "usage: %s [--trace FILE] [--waveform FILE]\n", argv[0]);
            return 2;
        }
        *value = argv[k];
    }
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigprocmask(SIG_BLOCK, &signals, nullptr);
    signal(SIGINT, SIG_IGN);            // of the parent's terminal; the parent closes stdin
    signal(SIGHUP, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
    Simulation simulation(trace, waveform);
    Terminal terminal;
    printf("{\"port\": \"%s\"}\n", terminal.name.c_str());
    fflush(stdout);
    Board board(simulation, terminal);
    board.run(signalfd(-1, &signals, 0));
    printf("{\"cycles\": %llu, \"seconds\": %.6f}\n", static_cast<unsigned long long>(simulation.cycles), board.seconds);
    return 0;
}
