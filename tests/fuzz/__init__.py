"""Any content in any file that others than root write, choose or fill."""
