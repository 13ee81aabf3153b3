"""A bench that never ends, which the runner must stop."""

import cocotb

from tidegate_sim.streams import reset_dut, wait


@cocotb.test()
async def never_ends(dut):
    await reset_dut(dut)
    await wait(dut, 1 << 60)
