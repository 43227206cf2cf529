"""Rules that a start is judged by: the hookscript asks them before it, and every audit. The hookscript loads no others."""
