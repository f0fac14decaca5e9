"""Files that mean harm, made by code, and what the program does with them."""
