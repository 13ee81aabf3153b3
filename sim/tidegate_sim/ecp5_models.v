// ECP5 cells of which yosys brings no simulation model, as Lattice's FPGA-TN-02204 (memory) and FPGA-TN-02205
// (sysDSP) describe them and as yosys' mapping (share/lattice/brams_map_16kd.v, dsp_map_18x18.v) uses them.
//
// What a netlist sets and is not modelled ends the build, for there is no such parameter, pin or module NOT_MODELLED_...;
// what only its signals ask for ends the simulation.

// 18 kbit block RAM: two ports of 1, 2, 4, 9 or 18 bits each, of which A writes; or A writes 36 bits (upper half: DIB) and B reads 36 bits
// (lower half: DOA, upper half: DOB), each with or without the other.
//
// A row is 36 bits, four bytes of 9.  An address's upper 9 bits choose the row, the lower ones what lies in it;
// widths of 1, 2 and 4 bits use the lower 8 bits of a byte.  Where a port of 18 (36) bits writes, the address's lower 2
// (4) bits are byte enables.  INITVAL_xx: 16 half rows of 18 bits, each in 20.
//
// Modelled: clock enables, synchronous reset of the output (also where the port is not enabled; nothing is written in
// that cycle), port A's three write modes, chip select by CS = 0, inverted clocks.  What B reads where A
// writes in the same cycle is documented as unknown: it comes out inverted, so that a design which uses it is found out.
// Not modelled: writing by port B, output registers, asynchronous reset (a netlist may choose it and never use it), other decoding of chip
// selects; what is unknown between two clocks.
module DP16KD (
  input DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9, DIA8, DIA7, DIA6, DIA5, DIA4, DIA3, DIA2, DIA1, DIA0,
  input ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5, ADA4, ADA3, ADA2, ADA1, ADA0,
  input CEA, OCEA, CLKA, WEA, RSTA, CSA2, CSA1, CSA0,
  output DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9, DOA8, DOA7, DOA6, DOA5, DOA4, DOA3, DOA2, DOA1, DOA0,
  input DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9, DIB8, DIB7, DIB6, DIB5, DIB4, DIB3, DIB2, DIB1, DIB0,
  input ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4, ADB3, ADB2, ADB1, ADB0,
  input CEB, OCEB, CLKB, WEB, RSTB, CSB2, CSB1, CSB0,
  output DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9, DOB8, DOB7, DOB6, DOB5, DOB4, DOB3, DOB2, DOB1, DOB0
);
  parameter DATA_WIDTH_A = 18, DATA_WIDTH_B = 18;
  parameter REGMODE_A = "NOREG", REGMODE_B = "NOREG";
  parameter RESETMODE = "SYNC", ASYNC_RESET_RELEASE = "SYNC";
  parameter CSDECODE_A = "0b000", CSDECODE_B = "0b000";
  parameter WRITEMODE_A = "NORMAL", WRITEMODE_B = "NORMAL";
  parameter CLKAMUX = "CLKA", CLKBMUX = "CLKB";
  parameter GSR = "AUTO";       // no effect without an output register
  parameter INIT_DATA = "STATIC";
  parameter WID = 0;            // names the contents in a bitstream
  parameter [319:0] INITVAL_00 = 0, INITVAL_01 = 0, INITVAL_02 = 0, INITVAL_03 = 0, INITVAL_04 = 0, INITVAL_05 = 0, INITVAL_06 = 0, INITVAL_07 = 0;
  parameter [319:0] INITVAL_08 = 0, INITVAL_09 = 0, INITVAL_0A = 0, INITVAL_0B = 0, INITVAL_0C = 0, INITVAL_0D = 0, INITVAL_0E = 0, INITVAL_0F = 0;
  parameter [319:0] INITVAL_10 = 0, INITVAL_11 = 0, INITVAL_12 = 0, INITVAL_13 = 0, INITVAL_14 = 0, INITVAL_15 = 0, INITVAL_16 = 0, INITVAL_17 = 0;
  parameter [319:0] INITVAL_18 = 0, INITVAL_19 = 0, INITVAL_1A = 0, INITVAL_1B = 0, INITVAL_1C = 0, INITVAL_1D = 0, INITVAL_1E = 0, INITVAL_1F = 0;
  parameter [319:0] INITVAL_20 = 0, INITVAL_21 = 0, INITVAL_22 = 0, INITVAL_23 = 0, INITVAL_24 = 0, INITVAL_25 = 0, INITVAL_26 = 0, INITVAL_27 = 0;
  parameter [319:0] INITVAL_28 = 0, INITVAL_29 = 0, INITVAL_2A = 0, INITVAL_2B = 0, INITVAL_2C = 0, INITVAL_2D = 0, INITVAL_2E = 0, INITVAL_2F = 0;
  parameter [319:0] INITVAL_30 = 0, INITVAL_31 = 0, INITVAL_32 = 0, INITVAL_33 = 0, INITVAL_34 = 0, INITVAL_35 = 0, INITVAL_36 = 0, INITVAL_37 = 0;
  parameter [319:0] INITVAL_38 = 0, INITVAL_39 = 0, INITVAL_3A = 0, INITVAL_3B = 0, INITVAL_3C = 0, INITVAL_3D = 0, INITVAL_3E = 0, INITVAL_3F = 0;

  localparam WIDE_A = DATA_WIDTH_A == 36, WIDE_B = DATA_WIDTH_B == 36;

  generate
    if (!(DATA_WIDTH_A inside {1, 2, 4, 9, 18, 36}) || !(DATA_WIDTH_B inside {1, 2, 4, 9, 18, 36}))
      NOT_MODELLED_DP16KD_DATA_WIDTH error();
    if (REGMODE_A != "NOREG" || REGMODE_B != "NOREG") NOT_MODELLED_DP16KD_REGMODE error();
    if (CSDECODE_A != "0b000" || CSDECODE_B != "0b000") NOT_MODELLED_DP16KD_CSDECODE error();
    if (!(CLKAMUX == "CLKA" || CLKAMUX == "INV") || !(CLKBMUX == "CLKB" || CLKBMUX == "INV"))
      NOT_MODELLED_DP16KD_CLKMUX error();
    if (!(WRITEMODE_A == "NORMAL" || WRITEMODE_A == "WRITETHROUGH" || WRITEMODE_A == "READBEFOREWRITE") ||
        !(WRITEMODE_B == "NORMAL" || WRITEMODE_B == "WRITETHROUGH" || WRITEMODE_B == "READBEFOREWRITE"))
      NOT_MODELLED_DP16KD_WRITEMODE error();
    if (INIT_DATA != "STATIC") NOT_MODELLED_DP16KD_INIT_DATA error();
    if (RESETMODE != "SYNC")
      always @(*) if (RSTA || RSTB) $fatal(1, "DP16KD: asynchronous reset is not modelled");
  endgenerate

  // place of what an address means in its row
  function automatic [5:0] place(input integer width, input [4:0] address);
    case (width)
      36: place = 0;
      18: place = address[4] ? 18 : 0;
      9: place = 9 * address[4:3];
      4: place = 9 * address[4:3] + {address[2], 2'b0};
      2: place = 9 * address[4:3] + {address[2:1], 1'b0};
      default: place = 9 * address[4:3] + address[2:0];
    endcase
  endfunction

  function automatic [35:0] ones(input integer width);
    ones = 36'hfffffffff >> (36 - width);
  endfunction

  // bits that a port writes, at place 0
  function automatic [35:0] written(input integer width, input [3:0] byte_enables);
    case (width)
      36: written = {{9{byte_enables[3]}}, {9{byte_enables[2]}}, {9{byte_enables[1]}}, {9{byte_enables[0]}}};
      18: written = {18'b0, {9{byte_enables[1]}}, {9{byte_enables[0]}}};
      default: written = ones(width);
    endcase
  endfunction

  wire [17:0] dia = {DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9, DIA8, DIA7, DIA6, DIA5, DIA4, DIA3, DIA2, DIA1, DIA0};
  wire [17:0] dib = {DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9, DIB8, DIB7, DIB6, DIB5, DIB4, DIB3, DIB2, DIB1, DIB0};
  wire [13:0] ada = {ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5, ADA4, ADA3, ADA2, ADA1, ADA0};
  wire [13:0] adb = {ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4, ADB3, ADB2, ADB1, ADB0};

  wire enable_a = CEA & ~CSA2 & ~CSA1 & ~CSA0, enable_b = CEB & ~CSB2 & ~CSB1 & ~CSB0;
  wire write_a = enable_a & WEA & ~RSTA;
  wire [5:0] place_a = place(DATA_WIDTH_A, ada[4:0]), place_b = place(DATA_WIDTH_B, adb[4:0]);
  wire [35:0] mask_a = write_a ? written(DATA_WIDTH_A, ada[3:0]) << place_a : 0;
  wire [35:0] data_a = {WIDE_A ? dib : 18'b0, dia} << place_a;

  reg [35:0] memory [0:511];
  wire [35:0] row_a = memory[ada[13:5]], row_b = memory[adb[13:5]];
  wire [35:0] read_a = row_a >> place_a;
  wire [35:0] read_b = (ada[13:5] == adb[13:5] ? row_b ^ mask_a : row_b) >> place_b;
  wire [35:0] through_a = ((row_a & ~mask_a) | (data_a & mask_a)) >> place_a;

  wire clka = CLKAMUX == "INV" ? ~CLKA : CLKA, clkb = CLKBMUX == "INV" ? ~CLKB : CLKB;
  reg [17:0] doa = 0;
  reg [35:0] dob = 0;

  always @(posedge clka) begin
    if (write_a) memory[ada[13:5]] <= (row_a & ~mask_a) | (data_a & mask_a);
    if (RSTA) doa <= 0;
    else if (enable_a) begin
      if (!WEA || WRITEMODE_A == "READBEFOREWRITE") doa <= read_a & ones(DATA_WIDTH_A);
      else if (WRITEMODE_A == "WRITETHROUGH") doa <= through_a & ones(DATA_WIDTH_A);
    end
  end

  always @(posedge clkb) begin
    if (enable_b && WEB) $fatal(1, "DP16KD: writing by port B is not modelled");
    if (RSTB) dob <= 0;
    else if (enable_b) dob <= read_b & ones(DATA_WIDTH_B);
  end

  assign {DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9, DOA8, DOA7, DOA6, DOA5, DOA4, DOA3, DOA2, DOA1, DOA0} = WIDE_B ? dob[17:0] : WIDE_A ? 18'b0 : doa;
  assign {DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9, DOB8, DOB7, DOB6, DOB5, DOB4, DOB3, DOB2, DOB1, DOB0} = WIDE_B ? dob[35:18] : dob[17:0];

  localparam [64 * 320 - 1:0] CONTENTS = {
    INITVAL_3F, INITVAL_3E, INITVAL_3D, INITVAL_3C, INITVAL_3B, INITVAL_3A, INITVAL_39, INITVAL_38,
    INITVAL_37, INITVAL_36, INITVAL_35, INITVAL_34, INITVAL_33, INITVAL_32, INITVAL_31, INITVAL_30,
    INITVAL_2F, INITVAL_2E, INITVAL_2D, INITVAL_2C, INITVAL_2B, INITVAL_2A, INITVAL_29, INITVAL_28,
    INITVAL_27, INITVAL_26, INITVAL_25, INITVAL_24, INITVAL_23, INITVAL_22, INITVAL_21, INITVAL_20,
    INITVAL_1F, INITVAL_1E, INITVAL_1D, INITVAL_1C, INITVAL_1B, INITVAL_1A, INITVAL_19, INITVAL_18,
    INITVAL_17, INITVAL_16, INITVAL_15, INITVAL_14, INITVAL_13, INITVAL_12, INITVAL_11, INITVAL_10,
    INITVAL_0F, INITVAL_0E, INITVAL_0D, INITVAL_0C, INITVAL_0B, INITVAL_0A, INITVAL_09, INITVAL_08,
    INITVAL_07, INITVAL_06, INITVAL_05, INITVAL_04, INITVAL_03, INITVAL_02, INITVAL_01, INITVAL_00
  };
  integer row;
  generate if (CONTENTS != 0)
    initial for (row = 0; row < 512; row = row + 1) memory[row] = {CONTENTS[40 * row + 20 +: 18], CONTENTS[40 * row +: 18]};
  endgenerate
endmodule

// Multiplier of 18 bits by 18, each signed or not.
// Not modelled: its registers, cascading (SRIA, SROA, SOURCEA and their like), the operand C, which only cascades.
module MULT18X18D (
  input A17, A16, A15, A14, A13, A12, A11, A10, A9, A8, A7, A6, A5, A4, A3, A2, A1, A0,
  input B17, B16, B15, B14, B13, B12, B11, B10, B9, B8, B7, B6, B5, B4, B3, B2, B1, B0,
  input C17, C16, C15, C14, C13, C12, C11, C10, C9, C8, C7, C6, C5, C4, C3, C2, C1, C0,
  input SIGNEDA, SIGNEDB, SOURCEA, SOURCEB,
  output P35, P34, P33, P32, P31, P30, P29, P28, P27, P26, P25, P24, P23, P22, P21, P20, P19, P18,
  output P17, P16, P15, P14, P13, P12, P11, P10, P9, P8, P7, P6, P5, P4, P3, P2, P1, P0
);
  parameter REG_INPUTA_CLK = "NONE", REG_INPUTB_CLK = "NONE", REG_INPUTC_CLK = "NONE";
  parameter REG_PIPELINE_CLK = "NONE", REG_OUTPUT_CLK = "NONE";

  generate
    if (REG_INPUTA_CLK != "NONE" || REG_INPUTB_CLK != "NONE" || REG_INPUTC_CLK != "NONE" ||
        REG_PIPELINE_CLK != "NONE" || REG_OUTPUT_CLK != "NONE")
      NOT_MODELLED_MULT18X18D_REG error();
  endgenerate

  always @(*) if (SOURCEA || SOURCEB) $fatal(1, "MULT18X18D: SOURCEA, SOURCEB are not modelled");

  wire signed [18:0] a = {SIGNEDA & A17, A17, A16, A15, A14, A13, A12, A11, A10, A9, A8, A7, A6, A5, A4, A3, A2, A1, A0};
  wire signed [18:0] b = {SIGNEDB & B17, B17, B16, B15, B14, B13, B12, B11, B10, B9, B8, B7, B6, B5, B4, B3, B2, B1, B0};
  wire signed [37:0] p = a * b;
  assign {P35, P34, P33, P32, P31, P30, P29, P28, P27, P26, P25, P24, P23, P22, P21, P20, P19, P18,
          P17, P16, P15, P14, P13, P12, P11, P10, P9, P8, P7, P6, P5, P4, P3, P2, P1, P0} = p[35:0];
endmodule
