// A simulated device with a byte stream behind a pseudo-terminal.
//
// Prints one JSON line with the terminal to open, {"port": "/dev/pts/N"}, then moves bytes between it and the
// design, until stdin closes or SIGTERM comes; then prints {"cycles": N, "seconds": S},
// the clock cycles simulated and the time that took.  Simulated time stands still while there is nothing to do.

#pragma once

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <unistd.h>

#include <chrono>
#include <string>

#include "fail.h"

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
//
// Device: ``void cycle(int byte)`` is one clock cycle, in which a byte (or -1: none) is offered; after it ``rx_taken`` and
// ``tx_byte`` (or -1) tell what moved.  ``BYTE_CYCLES``: between two bytes at most.  ``flush()``: of what it writes.
template <class Device>
class Board {
public:
    Board(Device& d, Terminal& t) : device(d), terminal(t) {}
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
            device.flush();
            if (!output.empty()) terminal.send(output);
        }
    }

private:
    static constexpr int BATCH = 4096;                          // cycles between looks at the terminal
    static constexpr int SETTLED = 64 + 2 * Device::BYTE_CYCLES;    // cycles without an output byte that end an answer
    static constexpr long SILENCE = 1L << 24;                   // ... after which nothing more is expected

    Device& device;
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
            device.cycle(position < input.size() ? static_cast<uint8_t>(input[position]) : -1);
            quiet++;
            if (device.tx_byte >= 0) {
                output += static_cast<char>(device.tx_byte);
                answered.byte(device.tx_byte);
                quiet = 0;
            }
            if (device.rx_taken) {
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

// The whole program around the device that ``make`` gives, which may start threads: they must not get the signals.
template <class Make>
int serve(Make make) {
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigprocmask(SIG_BLOCK, &signals, nullptr);
    signal(SIGINT, SIG_IGN);            // of the parent's terminal; the parent closes stdin
    signal(SIGHUP, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
    auto device = make();
    Terminal terminal;
    printf("{\"port\": \"%s\"}\n", terminal.name.c_str());
    fflush(stdout);
    Board<decltype(device)> board(device, terminal);
    board.run(signalfd(-1, &signals, 0));
    printf("{\"cycles\": %llu, \"seconds\": %.6f}\n", static_cast<unsigned long long>(device.cycles), board.seconds);
    return 0;
}
