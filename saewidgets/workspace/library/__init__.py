"""The parts of `ws.saes`: adding SAEs, their files, their statistics, publishing."""
