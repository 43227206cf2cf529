"""What hides whose node it is: secrets go, and names, addresses and serial numbers are replaced, the same one always by the same one."""
