// What an FPGA's memories and multipliers are used for, one of each kind; test_netlist.py compares it with its netlist.
module top (
  input clk, we, re, rst, input [13:0] wa, ra, input [35:0] d, e, input [3:0] be,
  output reg [35:0] q36, output reg [17:0] q18, output reg [8:0] q9, output reg [3:0] q4, output reg [1:0] q2, output reg q1,
  output reg [17:0] old, through, reset, kept, output [3:0] lut,
  output [35:0] signed18, unsigned18, output [23:0] signed8
);
  // what is read where it is written matters for the last three only
  (* no_rw_check *) reg [35:0] m36 [0:511];
  (* no_rw_check *) reg [17:0] m18 [0:1023], m_rst [0:1023];
  (* no_rw_check *) reg [8:0] m9 [0:2047];
  (* no_rw_check *) reg [3:0] m4 [0:4095];
  (* no_rw_check *) reg [1:0] m2 [0:8191];
  (* no_rw_check *) reg m1 [0:16383];
  reg [3:0] m_lut [0:15];
  reg [17:0] m_old [0:1023], m_new [0:1023], m_kept [0:1023];

  integer i;
  initial begin
    $readmemh("m36.hex", m36);
    $readmemh("m18.hex", m18);
    $readmemh("m9.hex", m9);
    $readmemh("m4.hex", m4);
    $readmemh("m2.hex", m2);
    $readmemh("m1.hex", m1);
    $readmemh("m_kept.hex", m_kept);
    $readmemh("m_old.hex", m_old);
    $readmemh("m_new.hex", m_new);
    $readmemh("m_rst.hex", m_rst);
    $readmemh("m_lut.hex", m_lut);
    {q36, q18, q9, q4, q2, q1, old, through, reset, kept} = 0;
  end

  always @(posedge clk) begin
    // one port writes, the other reads
    if (we) begin
      for (i = 0; i < 4; i = i + 1) if (be[i]) m36[wa[8:0]][9 * i +: 9] <= d[9 * i +: 9];
      for (i = 0; i < 2; i = i + 1) if (be[i]) m18[wa[9:0]][9 * i +: 9] <= d[9 * i +: 9];
      m9[wa[10:0]] <= d[8:0];
      m4[wa[11:0]] <= d[3:0];
      m2[wa[12:0]] <= d[1:0];
      m1[wa] <= d[0];
      m_rst[wa[9:0]] <= d[17:0];
      m_lut[wa[3:0]] <= d[3:0];
    end
    if (re) begin
      q36 <= m36[ra[8:0]];
      q18 <= m18[ra[9:0]];
      q9 <= m9[ra[10:0]];
      q4 <= m4[ra[11:0]];
      q2 <= m2[ra[12:0]];
      q1 <= m1[ra];
    end
    if (rst) reset <= 0; else if (re) reset <= m_rst[ra[9:0]];
  end

  // one port: what it reads while it writes
  always @(posedge clk) if (we) m_kept[wa[9:0]] <= d[17:0]; else kept <= m_kept[wa[9:0]];
  always @(posedge clk) begin
    if (we) m_old[wa[9:0]] <= d[17:0];
    old <= m_old[wa[9:0]];
  end
  always @(posedge clk) begin
    if (we) m_new[wa[9:0]] <= d[17:0];
    through <= we ? d[17:0] : m_new[wa[9:0]];
  end

  assign lut = m_lut[ra[3:0]];
  assign signed18 = $signed(d[17:0]) * $signed(e[17:0]);
  assign unsigned18 = d[17:0] * e[17:0];
  assign signed8 = $signed(d[7:0]) * $signed(e[15:0]);
endmodule
