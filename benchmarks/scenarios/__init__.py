"""How it is measured: the scenarios of MLPerf, in rounds that take turns."""
