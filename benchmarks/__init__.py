"""What the program costs, measured as a whole process against local partners."""
