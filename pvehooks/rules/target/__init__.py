"""Rules on a guest that is to start on another node: `pvehooks check VMID --target NODE` asks them."""
